"""A deleted activity keeps only its id; it can be restored, and the audit trail shows both."""

from __future__ import annotations

import msgspec
import pytest
from store_makers import (
    ACTIVITY,
    EVENT_TIME,
    OTHER,
    OWNER,
    detail,
    event,
    fetched,
    retitled,
    spec,
    streams,
    summary,
)

from feedzone.domain.effect import NoteFailure, StorePage, Tombstone
from feedzone.domain.outcome import Done
from feedzone.store.handler_reads import SqlHandlerReads
from feedzone.store.reads import activities, export
from feedzone.store.schema.tables import (
    activity_changes,
    activity_streams,
    jobs,
    strava_activities,
    webhook_events,
)

GONE = Tombstone(ACTIVITY, OWNER, "event:01a00000-0000-7000-8000-000000000000")
KEPT = {
    "id",
    "athlete_id",
    "sync_status",
    "sync_attempts",
    "last_event_time",
    "webhook_received_at",
    "last_fetched_at",
    "deleted_at",
    "created_at",
    "updated_at",
}
"""The columns of a tombstone that may have a value: none of them describes the activity."""


@pytest.fixture
async def full(store):
    """A store with an activity that has a summary, a detail, streams, an event, a change and a failure."""
    page = StorePage(OWNER, (summary(),), (spec(),))
    await store.apply(page, fetched(detail(), complete=False), streams())
    await store.apply(fetched(detail(name="Canary")), NoteFailure(ACTIVITY, OWNER, "Canary failed"))
    await store.deliver(retitled("Canary"))
    assert await store.edits()
    return store


async def trail(store):
    return [
        (row.field, msgspec.json.decode(row.old_value), msgspec.json.decode(row.new_value))
        for row in await store.edits()
    ]


async def test_a_tombstone_leaves_no_data_in_any_column(full, clock):
    await full.apply(GONE)
    row = await full.row(strava_activities)
    assert {name for name, value in row._mapping.items() if value is not None} <= KEPT
    assert (row.sync_status, row.deleted_at, row.athlete_id) == ("deleted", clock.now(), OWNER)


async def test_a_tombstone_leaves_no_data_in_any_table(full):
    await full.apply(GONE)
    assert await full.rows(activity_streams) == []
    assert await trail(full) == [("sync_status", "pending", "deleted")]
    assert "Canary" not in repr([await full.rows(table) for table in (webhook_events, activity_changes)])


async def test_the_audit_trail_names_what_caused_the_deletion(full):
    await full.apply(GONE)
    assert (await full.edits())[0].cause == GONE.cause


async def test_deleting_twice_is_deleting_once(full, clock):
    await full.apply(GONE)
    first = await full.row(strava_activities)
    clock.advance(hours=1)
    await full.apply(GONE)
    assert await full.row(strava_activities) == first
    assert len(await trail(full)) == 1


async def test_an_unknown_activity_becomes_a_tombstone(store):
    await store.apply(GONE)
    row = await store.row(strava_activities)
    assert (row.sync_status, row.athlete_id, row.name) == ("deleted", OWNER, None)
    assert await trail(store) == []  # no reader of the change feed knows it


async def test_an_activity_of_another_athlete_is_not_deleted(full):
    before = await full.row(strava_activities), await full.rows(activity_streams)
    await full.apply(Tombstone(ACTIVITY, OTHER, "event:x"))
    assert (await full.row(strava_activities), await full.rows(activity_streams)) == before


async def test_a_deleted_activity_can_be_restored_and_the_trail_shows_both(full):
    """Making an activity private looks like a delete, and making it public like a create."""
    await full.apply(GONE)
    await full.apply(fetched(detail()))
    row = await full.row(strava_activities)
    assert (row.sync_status, row.deleted_at, row.name) == ("synced", None, "Morning Ride")
    assert await trail(full) == [("sync_status", "pending", "deleted"), ("sync_status", "deleted", "synced")]


async def test_a_tombstone_that_is_listed_again_is_fetched_and_restored(full):
    await full.run(Done((GONE,)))
    await full.apply(StorePage(OWNER, (summary(),), (spec(77), spec())))
    assert (await full.row(strava_activities)).sync_status == "deleted"  # until it is fetched
    assert [row.key for row in await full.rows(jobs, state="queued")] == [f"activity:{ACTIVITY}"]
    await full.apply(fetched(detail()))
    row = await full.row(strava_activities)
    assert (row.sync_status, row.deleted_at, row.name) == ("synced", None, "Morning Ride")
    assert await trail(full) == [("sync_status", "pending", "deleted"), ("sync_status", "deleted", "synced")]


async def test_delete_and_create_in_any_order_end_with_the_state_at_strava(store):
    delete = event(aspect_type="delete", event_time=EVENT_TIME + 1)
    await store.deliver(delete, event(event_time=EVENT_TIME + 2))
    await store.run(Done((fetched(detail()),)))
    assert (await store.row(strava_activities)).sync_status == "synced"
    assert {row.status for row in await store.rows(webhook_events)} == {"completed"}


async def test_an_event_or_a_failure_does_not_change_a_tombstone(full):
    await full.apply(GONE)
    before = await full.row(strava_activities)
    await full.deliver(retitled("Canary again", event_time=EVENT_TIME + 60))
    await full.apply(NoteFailure(ACTIVITY, OWNER, "502", final=True))
    assert await full.row(strava_activities) == before
    assert (await SqlHandlerReads(full.database).stored_activity(ACTIVITY)).live is False


async def test_a_tombstone_counts_as_no_activity(full):
    await full.apply(GONE)
    assert await full.read(lambda c: activities.listing(c, limit=9)) == []
    assert await full.read(export.totals) == (0, 0)
    assert await full.read(lambda c: activities.progress(c, OWNER, None)) == {}
    assert await full.read(lambda c: export.documents(c, OWNER, after_id=0, limit=9)) == []


async def test_the_data_of_a_deleted_activity_is_removed_from_the_sqlite_file(sqlite_database, clock):
    """With secure_delete, SQLite overwrites deleted data."""
    from store_makers import Store

    store = Store.over(sqlite_database, clock)
    await store.connect(OWNER)
    await store.apply(fetched(detail(name="Canary-in-the-file", description="Canary " * 4000)))
    await store.apply(streams(blob=b"Canary-blob" * 4000))
    await store.apply(GONE)
    await sqlite_database.close()
    files = list(sqlite_database.path.parent.glob("feedzone.db*"))
    assert files
    assert not any(b"Canary" in path.read_bytes() for path in files)


async def test_a_tombstone_knows_the_time_of_the_newest_delete(store):
    """So a create that arrives after it is known to be older."""
    await store.apply(fetched(detail(), complete=False))
    for event_time, newest in ((EVENT_TIME, EVENT_TIME), (EVENT_TIME - 9, EVENT_TIME), (EVENT_TIME + 9,) * 2):
        await store.apply(Tombstone(ACTIVITY, OWNER, "request", event_time))
        assert (await store.row(strava_activities)).last_event_time == newest


async def test_activities_found_deleted_are_counted_apart_from_announced_ones(store, clock):
    reads, since = SqlHandlerReads(store.database), clock.now()
    for number, cause in enumerate(("reconciliation", "event:e1", "request", "reconciliation")):
        await store.apply(fetched(detail(ACTIVITY + number), complete=False))
        await store.apply(Tombstone(ACTIVITY + number, OWNER, cause))
    assert await reads.found_deleted(OWNER, since) == 2
    assert await reads.found_deleted(OTHER, since) == 0
    clock.advance(seconds=1)
    assert await reads.found_deleted(OWNER, clock.now()) == 0
