"""The newest state of an activity is stored, no summary overwrites a detail, and changes are logged."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from store_makers import (
    ACTIVITY,
    DETAIL,
    OTHER,
    OWNER,
    Store,
    detail,
    event,
    fetched,
    spec,
    streams,
    summary,
)

from feedzone.domain.activity import ActivityRecord
from feedzone.domain.effect import NoteFailure, StoreDetail, StorePage, Tombstone
from feedzone.store import list_diff
from feedzone.store.handler_reads import SqlHandlerReads
from feedzone.store.schema.tables import strava_activities, strava_athletes


async def store_page(store: Store, *reads: ActivityRecord) -> None:
    """Store a page of the list with these activities."""
    specs = tuple(spec(record.id, athlete_id=record.athlete_id) for record in reads)
    await store.apply(StorePage(reads[0].athlete_id, reads, specs))


async def changes(store: Store) -> dict[str, tuple[object, object]]:
    """Return the old and the new value of each field in the audit trail."""
    return {
        row.field: (msgspec.json.decode(row.old_value), msgspec.json.decode(row.new_value))
        for row in await store.edits()
    }


async def test_every_typed_column_and_the_raw_response_are_stored(store, clock):
    record = detail()
    await store.apply(fetched(record))
    row = await store.row(strava_activities)
    assert {name: row._mapping[name] for name in DETAIL} == DETAIL
    assert (row.detail, row.summary, row.athlete_id) == (record.raw, None, OWNER)
    assert (row.sync_status, row.last_fetched_at, row.created_at) == ("synced", clock.now(), clock.now())


async def test_an_activity_is_syncing_until_its_streams_are_stored(store):
    await store.apply(fetched(detail(), complete=False))
    assert (await store.row(strava_activities)).sync_status == "syncing"


async def test_a_summary_does_not_change_a_stored_detail(store):
    """A list that shows a different activity only causes a fetch."""
    await store.apply(fetched(detail()))
    before = await store.row(strava_activities)
    await store_page(store, summary(name="Renamed", gear_id=None))
    row = await store.row(strava_activities)
    changed = {"sync_status": "pending", "accepted_difference": row.accepted_difference}
    assert row._asdict() == before._asdict() | changed
    assert (row.name, row.description, row.calories) == ("Morning Ride", "along the canal", 870.2)
    await store.apply(fetched(detail(name="Renamed", gear_id=None)))
    row = await store.row(strava_activities)
    assert (row.name, row.description, row.gear_id) == ("Renamed", "along the canal", None)
    assert await changes(store) == {
        "name": ("Morning Ride", "Renamed"),
        "gear_id": ("b12345678987654321", None),
    }


async def test_a_detail_clears_the_columns_that_it_lacks(store):
    await store.apply(fetched(detail()))
    bare = detail()
    del bare.columns["description"]
    await store.apply(fetched(bare))
    assert (await store.row(strava_activities)).description is None
    assert await changes(store) == {"description": ("along the canal", None)}


async def test_each_change_is_logged_with_from_to_when_and_cause(store, clock):
    await store.apply(fetched(detail()))
    clock.advance(hours=1)
    cause = "event:01a00000-0000-7000-8000-000000000000"
    await store.apply(StoreDetail(detail(name="Evening Ride", distance=1.5), cause, clock.now(), True))
    logged = await store.edits()
    assert {(row.field, row.cause, row.changed_at, row.activity_id, row.athlete_id) for row in logged} == {
        (field, cause, clock.now(), ACTIVITY, OWNER) for field in ("name", "distance")
    }
    assert await changes(store) == {
        "name": ("Morning Ride", "Evening Ride"),
        "distance": (24931.4, 1.5),
    }


async def test_times_are_logged_in_a_readable_format(store):
    await store.apply(fetched(detail()))
    moved = DETAIL["start_date"].replace(hour=5)
    await store.apply(fetched(detail(start_date=moved)))
    assert await changes(store) == {"start_date": ("2026-11-03T06:00:00Z", "2026-11-03T05:00:00Z")}


async def test_an_unchanged_response_logs_nothing(store):
    await store.apply(fetched(detail()))
    await store.apply(fetched(detail()))
    await store_page(store, summary())
    assert await store.edits() == []


async def test_the_first_detail_after_a_summary_logs_no_change(store):
    await store_page(store, summary())
    await store.apply(fetched(detail()))
    assert await store.edits() == []


async def test_a_change_before_the_first_detail_is_stored_and_not_logged(store):
    await store_page(store, summary())
    await store_page(store, summary(name="Renamed"))
    await store.apply(fetched(detail(name="Renamed")))
    assert (await store.row(strava_activities)).name == "Renamed"
    assert await store.edits() == []


@pytest.mark.parametrize(("old", "new"), [(0.3, 0.1 + 0.2), (10.0, 10), (10, 10.0)])
async def test_equal_numbers_are_no_change_in_any_notation(store, old, new):
    await store.apply(fetched(detail(distance=old)))
    now, observed = store.clock.now(), [summary(distance=new)]
    diff = await store.write(lambda c: list_diff.compare(c, observed, now))
    assert diff == ([], [], {})
    await store.apply(fetched(detail(distance=new)))
    assert await store.edits() == []


@pytest.mark.parametrize(("old", "new"), [(None, 0.0), (0.0, None), (10.0, 10.1), (False, None)])
async def test_null_differs_from_zero(store, old, new):
    field = "commute" if old is False else "distance"
    await store.apply(fetched(detail(**{field: old})))
    await store.apply(fetched(detail(**{field: new})))
    assert await changes(store) == {field: (old, new)}


async def test_numbers_are_restored_to_the_last_bit(store):
    odd = {
        "start_lat": 52.520006599999995,
        "start_lng": -0.1 - 0.2,
        "distance": 1e-7,
        "kilojoules": 1e15 + 0.3,
    }
    await store.apply(fetched(detail(**odd)))
    row = await store.row(strava_activities)
    assert {name: row._mapping[name] for name in odd} == odd


@pytest.mark.parametrize(
    ("text", "stored_text"),
    [("a\x00b", "ab"), ("a\ud83db", "a\ufffdb"), ("😀 é\u200d", "😀 é\u200d"), ("", "")],
    ids=["NUL", "lone surrogate", "emoji", "empty"],
)
async def test_text_that_no_database_can_store_is_cleaned_and_not_lost(store, text, stored_text):
    await store.apply(fetched(detail(name=text, description=text)))
    row = await store.row(strava_activities)
    assert (row.name, row.description) == (stored_text, stored_text)
    await store.apply(fetched(detail(name=text, description=text)))
    await store_page(store, summary(name=text))
    assert await store.edits() == []
    assert (await store.row(strava_activities)).sync_status == "synced"


async def test_a_response_with_escaped_nul_is_stored_as_received(store):
    raw = '{"id":1, "name":"a\\u0000b \\ud83d", "n": 1.50}'
    await store.apply(fetched(msgspec.structs.replace(detail(), raw=raw)))
    assert (await store.row(strava_activities)).detail == raw


async def test_ids_are_64_bits_wide(store):
    top = 2**63 - 1
    await store.apply(fetched(detail(top, upload_id=top)))
    await store.apply(fetched(detail(top, upload_id=top - 1)))
    row = await store.row(strava_activities)
    assert (row.id, row.upload_id) == (top, top - 1)
    assert await changes(store) == {"upload_id": (top, top - 1)}


async def test_an_unknown_sport_is_stored(store):
    await store.apply(fetched(detail(sport_type="UnderwaterPadel", type="Workout")))
    assert (await store.row(strava_activities)).sport_type == "UnderwaterPadel"


async def test_an_unknown_column_is_ignored(store):
    await store.apply(fetched(detail(new_thing_of_2027=1)))
    assert (await store.row(strava_activities)).name == "Morning Ride"


async def test_a_response_cannot_write_bookkeeping_columns(store, clock):
    await store.apply(fetched(detail(sync_status="failed", deleted_at=clock.now(), detail="{}")))
    row = await store.row(strava_activities)
    assert (row.sync_status, row.deleted_at, row.detail) == ("synced", None, detail().raw)


async def test_the_time_of_the_event_is_stored_and_later_fetches_keep_it(store, clock):
    received = clock.now()
    clock.advance(seconds=4)
    await store.apply(StoreDetail(detail(), "event:x", received, True))
    await store.apply(fetched(detail()))
    assert (await store.row(strava_activities)).webhook_received_at == received


async def test_a_failure_is_shown_and_a_success_clears_it(store):
    await store.apply(fetched(detail()))
    await store.apply(NoteFailure(ACTIVITY, OWNER, "502"), NoteFailure(ACTIVITY, OWNER, "503"))
    row = await store.row(strava_activities)
    assert (row.sync_status, row.sync_attempts, row.last_sync_error) == ("synced", 2, "503")
    await store.apply(fetched(detail()))
    row = await store.row(strava_activities)
    assert (row.sync_attempts, row.last_sync_error) == (0, None)


async def test_a_failure_of_an_unknown_activity_creates_no_row(store):
    await store.apply(NoteFailure(ACTIVITY, OWNER, "502", final=True))
    assert await store.rows(strava_activities) == []


async def test_a_stored_activity_moves_the_athletes_last_sync(store, clock):
    clock.advance(minutes=1)
    await store.apply(fetched(detail()))
    assert (await store.row(strava_athletes, id=OWNER)).last_synced_at == clock.now()
    assert (await store.row(strava_athletes, id=OTHER)).last_synced_at is None


async def test_events_of_two_athletes_never_write_across(store):
    await store.apply(fetched(detail(1)), fetched(detail(2, OTHER, name="Other")))
    await store.deliver(event(object_id=1), event(object_id=2, owner_id=OTHER))
    for job in await store.lease():
        name = "first" if job.athlete_id == OWNER else "second"
        await store.apply(fetched(detail(job.object_id, job.athlete_id, name=name)))
    rows = await store.rows(strava_activities)
    assert [(row.id, row.athlete_id, row.name) for row in rows] == [(1, OWNER, "first"), (2, OTHER, "second")]


async def test_a_handler_can_read_the_stored_activity(store, clock):
    reads, seen = SqlHandlerReads(store.database), clock.now()
    assert await reads.stored_activity(ACTIVITY) is None
    await store.apply(fetched(detail(manual=True)))
    activity = await reads.stored_activity(ACTIVITY)
    assert (activity.athlete_id, activity.live, activity.manual, activity.stream_state) == (
        OWNER,
        True,
        True,
        None,
    )
    assert (activity.first_seen, activity.announced) == (seen, False)
    clock.advance(hours=3)
    await store.apply(streams("pending"), StoreDetail(detail(), "event:x", clock.now(), complete=False))
    activity = await reads.stored_activity(ACTIVITY)
    assert (activity.stream_state, activity.first_seen, activity.announced) == ("pending", seen, True)


@pytest.mark.parametrize("observed", [{}, {"distance": 0.1 + 0.2}, {"distance": None, "moving_time": None}])
async def test_streams_keep_the_fingerprint_of_their_detail(store, observed):
    """Otherwise every recheck would fetch the streams again."""
    await store.apply(fetched(detail(**observed)), streams())
    activity = await SqlHandlerReads(store.database).stored_activity(ACTIVITY)
    assert activity.streams_fingerprint == activity.fingerprint == detail(**observed).fingerprint


async def test_stored_activities_of_a_window_exclude_tombstones_and_other_athletes(store):
    reads, start = SqlHandlerReads(store.database), DETAIL["start_date"]
    for number, hours in ((1, -1), (2, 0), (3, 5), (4, 10), (5, 5), (6, 5)):
        await store.apply(fetched(detail(number, start_date=start + timedelta(hours=hours))))
    await store.apply(fetched(detail(7, OTHER, start_date=start)), fetched(detail(8, start_date=None)))
    await store.apply(Tombstone(5, OWNER, "request"), NoteFailure(6, OWNER, "502", final=True))
    assert await reads.stored_between(OWNER, start, start + timedelta(hours=10)) == [2, 3, 6]
    assert await reads.stored_count(OWNER) == 6
    assert await reads.stored_count(OTHER) == 1
