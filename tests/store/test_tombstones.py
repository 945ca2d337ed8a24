"""A deleted activity leaves its id and no data; it can come back, and the audit trail shows both."""

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
"""What a tombstone may still hold: none of it is what the athlete did."""


@pytest.fixture
async def full(store):
    """An activity with everything: both answers, streams, an event, a change, a failure."""
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


async def test_an_activity_that_we_never_held_is_remembered_as_deleted(store):
    await store.apply(GONE)
    row = await store.row(strava_activities)
    assert (row.sync_status, row.athlete_id, row.name) == ("deleted", OWNER, None)
    assert await trail(store) == [("sync_status", None, "deleted")]


async def test_nobody_deletes_another_athletes_activity(full):
    before = await full.row(strava_activities), await full.rows(activity_streams)
    await full.apply(Tombstone(ACTIVITY, OTHER, "event:x"))
    assert (await full.row(strava_activities), await full.rows(activity_streams)) == before


async def test_a_deleted_activity_can_come_back_and_the_trail_shows_both(full):
    """Pain 23: to the application, 'made private' is a delete, and the way back is a create."""
    await full.apply(GONE)
    await full.apply(fetched(detail()))
    row = await full.row(strava_activities)
    assert (row.sync_status, row.deleted_at, row.name) == ("synced", None, "Morning Ride")
    assert await trail(full) == [("sync_status", "pending", "deleted"), ("sync_status", "deleted", "synced")]


async def test_an_activity_that_the_list_shows_again_is_fetched_and_comes_back(full):
    await full.run(Done((GONE,)))
    await full.apply(StorePage(OWNER, (summary(),), (spec(77), spec())))
    assert (await full.row(strava_activities)).sync_status == "deleted"  # until the truth is fetched
    assert [row.key for row in await full.rows(jobs, state="queued")] == [f"activity:{ACTIVITY}"]
    await full.apply(fetched(detail()))
    row = await full.row(strava_activities)
    assert (row.sync_status, row.deleted_at, row.name) == ("synced", None, "Morning Ride")
    assert await trail(full) == [("sync_status", "pending", "deleted"), ("sync_status", "deleted", "synced")]


async def test_delete_then_create_in_any_order_ends_with_what_strava_says(store):
    delete = event(aspect_type="delete", event_time=EVENT_TIME + 1)
    await store.deliver(delete, event(event_time=EVENT_TIME + 2))
    await store.run(Done((fetched(detail()),)))
    assert (await store.row(strava_activities)).sync_status == "synced"
    assert {row.status for row in await store.rows(webhook_events)} == {"completed"}


async def test_a_tombstone_is_not_shown_marked_stale_or_failed(full):
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


async def test_what_a_deleted_activity_was_leaves_the_sqlite_file_too(sqlite_database, clock):
    """secure_delete: what is deleted is overwritten, not only unlinked."""
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
