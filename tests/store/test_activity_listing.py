"""Finding activities: latest first, page by page; and which of a list's entries tell something new."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from store_makers import ACTIVITY, DETAIL, OTHER, OWNER, detail, fetched, streams, summary

from feedzone.domain.effect import NoteFailure, Tombstone
from feedzone.store import activities, athletes, list_diff
from feedzone.store.reads import activities as activity_lists
from feedzone.store.reads import export
from feedzone.store.schema.tables import activity_changes

START = DETAIL["start_date"]


async def keep(store, activity_id, hours=0, athlete_id=OWNER, **columns):
    columns = {"start_date": START + timedelta(hours=hours)} | columns
    await store.apply(fetched(detail(activity_id, athlete_id, **columns)))


async def listed_ids(store, **filters):
    rows = await store.read(lambda c: activity_lists.listing(c, **({"limit": 99} | filters)))
    return [row.id for row in rows]


async def test_the_latest_start_comes_first_and_ids_decide_between_equals(store):
    for activity_id, hours in ((1, 0), (2, 5), (3, -5), (5, 0), (4, 0)):
        await keep(store, activity_id, hours)
    assert await listed_ids(store) == [2, 5, 4, 1, 3]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_together_are_the_complete_list(store, limit):
    for activity_id in range(1, 8):
        await keep(store, activity_id, hours=activity_id // 3)  # several start at the same instant
    complete, cursor, pages = await listed_ids(store), None, []
    while page := await store.read(lambda c, at=cursor: activity_lists.listing(c, cursor=at, limit=limit)):
        pages += [row.id for row in page]
        cursor = page[-1].start_date, page[-1].id
    assert pages == complete
    assert len(complete) == 7


async def test_a_new_activity_does_not_shift_the_pages_behind_a_cursor(store):
    for activity_id in (1, 2, 3, 4):
        await keep(store, activity_id, hours=activity_id)
    (*_, last) = await store.read(lambda c: activity_lists.listing(c, limit=2))
    await keep(store, 9, hours=99)
    assert await listed_ids(store, cursor=(last.start_date, last.id)) == [2, 1]


async def test_filters_narrow_the_list_and_combine(store):
    await keep(store, 1, 0)
    await keep(store, 2, 1, sport_type="Run")
    await keep(store, 3, 2, athlete_id=OTHER)
    assert await listed_ids(store, athlete_id=OWNER) == [2, 1]
    assert await listed_ids(store, sport_type="Run") == [2]
    assert await listed_ids(store, after=START + timedelta(hours=1)) == [3, 2]  # from that instant on
    assert await listed_ids(store, before=START + timedelta(hours=1)) == [1]  # up to that instant
    assert await listed_ids(store, athlete_id=OTHER, sport_type="Run") == []


async def test_an_activity_without_a_start_is_not_in_the_list(store):
    await keep(store, 1, start_date=None)
    assert await listed_ids(store) == []


async def test_one_activity_can_be_read(store):
    await keep(store, 1)
    assert (await store.read(lambda c: activities.get(c, 1))).name == "Morning Ride"
    assert await store.read(lambda c: activities.get(c, 2)) is None


async def compared(store, *records):
    """Return the ids of new activities, and of those that differ from the stored rows."""
    now = store.clock.now()
    result = await store.write(lambda c: list_diff.compare(c, records, now))
    return [record.id for record in result.new], [record.id for record in result.changed]


async def test_a_synced_activity_with_the_same_summary_does_not_differ(store):
    """The reason why looking over an unchanged window costs list calls only."""
    await keep(store, 1, summary_polyline=None)
    assert await compared(store, summary(1)) == ([], [])


async def test_new_activities_are_distinguished_from_changed_ones(store):
    await keep(store, 1)
    await keep(store, 3)
    assert await compared(store, summary(1), summary(2), summary(3, name="x")) == ([2], [3])
    assert await compared(store) == ([], [])


@pytest.mark.parametrize(
    "fields",
    [{"name": "x"}, {"workout_type": 1}, {"gear_id": None}, {"distance": 24931.5}, {"visibility": "only_me"}],
    ids=lambda fields: next(iter(fields)),
)
async def test_any_field_of_a_summary_that_changed_differs(store, fields):
    """Most edits send no event."""
    await keep(store, 1)
    assert await compared(store, summary(1, **fields)) == ([], [1])


async def test_an_unfinished_activity_differs_even_with_the_same_summary(store):
    for activity_id in (1, 2, 3, 4):
        await keep(store, activity_id)
    await store.apply(fetched(detail(1), complete=False))
    await store.apply(NoteFailure(2, OWNER, "502", final=True), Tombstone(3, OWNER, "request"))
    assert await compared(store, *(summary(n) for n in (1, 2, 3, 4))) == ([], [1, 2, 3])


async def test_a_repeated_entry_is_compared_once_and_the_last_one_counts(store):
    assert await compared(store, summary(1, name="a"), summary(1, name="b")) == ([1], [])
    await keep(store, 1, name="b")
    assert await compared(store, summary(1, name="a"), summary(1, name="b")) == ([], [])


async def test_progress_counts_activities_by_state_since_the_start_of_the_window(store, clock):
    after = START - timedelta(hours=1)
    await store.write(lambda c: athletes.begin_sync(c, OWNER, after, clock.now()))
    await keep(store, 1)
    await keep(store, 2, hours=-99)
    await keep(store, 3, athlete_id=OTHER)
    await store.apply(fetched(detail(4), complete=False))
    assert await store.read(lambda c: activity_lists.progress(c, OWNER, after)) == {"synced": 1, "syncing": 1}
    assert await store.read(lambda c: activity_lists.progress(c, OWNER, None)) == {"synced": 2, "syncing": 1}
    assert await store.read(lambda c: activity_lists.progress_of(c, [OWNER, OTHER])) == {
        OWNER: {"synced": 1, "syncing": 1},
        OTHER: {"synced": 1},
    }


async def test_totals_count_activities_and_those_with_streams(store):
    await keep(store, ACTIVITY)
    await keep(store, 2)
    await store.apply(streams(), streams("absent", activity_id=2))
    assert await store.read(export.totals) == (2, 1)


async def test_an_export_reads_all_activities_page_by_page_with_streams(store):
    for activity_id in (3, 1, ACTIVITY):
        await keep(store, activity_id)
    await keep(store, 2, athlete_id=OTHER)
    await store.apply(streams(blob=b"curve"))
    first = await store.read(lambda c: export.documents(c, OWNER, after_id=0, limit=2))
    rest = await store.read(lambda c: export.documents(c, OWNER, after_id=first[-1].id, limit=2))
    assert [(row.id, row.blob) for row in [*first, *rest]] == [(1, None), (3, None), (ACTIVITY, b"curve")]
    assert rest[0].detail == detail().raw


async def test_the_change_feed_continues_after_the_last_change_of_a_page(store):
    await keep(store, 1)
    for number in range(4):
        await keep(store, 1, name=f"name {number}")
    first = await store.read(lambda c: activity_lists.changes(c, since_id=None, limit=3))
    rest = await store.read(lambda c: activity_lists.changes(c, since_id=first[-1].id, limit=3))
    values = [msgspec.json.decode(row.new_value) for row in [*first, *rest]]
    assert (first[0].field, first[0].old_value) == ("sync_status", "null")
    assert values == ["synced", *(f"name {number}" for number in range(4))]
    assert len(await store.rows(activity_changes)) == 5
