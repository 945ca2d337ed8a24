"""An athlete's activities by day: totals, list, search, and the latest fetches."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from store_makers import OTHER, OWNER, Store, detail, fetched, streams

from feedzone.domain.effect import Tombstone
from feedzone.store.reads import calendar, export

DAY = date(2026, 11, 3)
WALL = datetime(2026, 11, 3, 7, 0)  # noqa: DTZ001  (wall time)


async def keep(store: Store, activity_id: int, days: int = 0, athlete_id: int = OWNER, **columns):
    columns = {"start_date_local": WALL + timedelta(days=days)} | columns
    await store.apply(fetched(detail(activity_id, athlete_id, **columns)))


async def listed_ids(store: Store, **filters):
    rows = await store.read(lambda c: calendar.listing(c, OWNER, **({"limit": 99} | filters)))
    return [row.id for row in rows]


async def test_a_day_is_added_up_by_sport_and_state(store: Store):
    await keep(store, 1, distance=1000.0, moving_time=300, total_elevation_gain=10.0)
    await keep(store, 2, distance=500.0, moving_time=100, total_elevation_gain=None)
    await keep(store, 3, sport_type="Run", distance=None, moving_time=None)
    await keep(store, 4, days=1)
    await keep(store, 5, athlete_id=OTHER)
    groups = await store.read(lambda c: calendar.sums(c, OWNER, DAY, DAY))
    ride, run = sorted(groups, key=lambda group: group.sport_type or "")
    assert (ride.day, ride.sport_type, ride.sync_status) == (DAY, "GravelRide", "synced")
    assert (ride.activities, ride.distance, ride.moving_time, ride.climb) == (2, 1500.0, 400, 10.0)
    assert (run.activities, run.distance, run.moving_time) == (1, 0.0, 0)


async def test_an_activity_counts_for_the_day_that_the_clock_on_the_wall_showed(store: Store):
    """Half an hour to midnight in New York is the next day in UTC."""
    late = datetime(2026, 11, 3, 23, 30)  # noqa: DTZ001  (wall time)
    await keep(store, 1, start_date_local=late)
    (group,) = await store.read(lambda c: calendar.sums(c, OWNER, DAY, DAY))
    assert group.day == DAY
    assert await listed_ids(store, between=(DAY, DAY)) == [1]
    assert await listed_ids(store, between=(DAY + timedelta(days=1), DAY + timedelta(days=1))) == []


async def test_a_calendar_has_no_deleted_activities_and_none_of_other_athletes(store: Store):
    await keep(store, 1)
    await keep(store, 2, athlete_id=OTHER)
    await store.apply(Tombstone(1, OWNER, "request"))
    assert await listed_ids(store) == []
    assert await store.read(lambda c: calendar.sums(c, OWNER, DAY, DAY)) == []
    assert await store.read(lambda c: calendar.span(c, OWNER)) is None
    assert await store.read(lambda c: calendar.sports(c, OWNER)) == []
    assert await store.read(lambda c: calendar.fetched(c, OWNER, 9)) == []


async def test_a_calendar_knows_its_first_and_last_day_and_all_sports(store: Store):
    await keep(store, 1, days=-400)
    await keep(store, 2)
    await keep(store, 3, sport_type="Run")
    assert await store.read(lambda c: calendar.span(c, OWNER)) == (WALL - timedelta(days=400), WALL)
    assert await store.read(lambda c: calendar.sports(c, OWNER)) == ["GravelRide", "Run"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_together_are_the_complete_list(store: Store, limit: int):
    for activity_id in range(1, 8):
        await keep(store, activity_id, days=activity_id // 3)  # several at the same time
    complete, cursor, pages = await listed_ids(store), None, []
    assert complete == [7, 6, 5, 4, 3, 2, 1]
    while page := await store.read(lambda c, at=cursor: calendar.listing(c, OWNER, cursor=at, limit=limit)):
        pages += [row.id for row in page]
        cursor = page[-1].start_date_local, page[-1].id
    assert pages == complete


@pytest.mark.parametrize(
    ("search", "ids"),
    [("évian", [1]), ("ÉVIAN", [1]), ("évian 100%", [1]), ("loop", [2, 1]), ("%", [1]), ("_", []), ("x", [])],
)
async def test_a_name_is_found_by_any_part_of_it_in_any_case(store: Store, search: str, ids: list[int]):
    await keep(store, 1, name="Évian 100% Loop")
    await keep(store, 2, name="Another loop")
    assert await listed_ids(store, search=search) == ids


async def test_filters_narrow_the_list_and_combine(store: Store):
    await keep(store, 1)
    await keep(store, 2, sport_type="Run")
    await keep(store, 3, days=-40, sport_type="Run")
    assert await listed_ids(store, sport_type="Run") == [2, 3]
    assert await listed_ids(store, sport_type="Run", between=(DAY, DAY)) == [2]
    assert await listed_ids(store, states=("failed",)) == []
    assert await listed_ids(store, states=("synced",), search="morning", sport_type="Run") == [2, 3]


async def test_activities_without_a_date_are_listed_separately(store: Store):
    await keep(store, 1, start_date_local=None)
    await keep(store, 2)
    assert await listed_ids(store) == [2]
    rows = await store.read(lambda c: calendar.undated(c, OWNER, (), 9))
    assert [row.id for row in rows] == [1]
    assert await store.read(lambda c: calendar.undated(c, OWNER, ("failed",), 9)) == []


async def test_recently_fetched_activities_come_latest_first(store: Store, clock):
    await keep(store, 1, days=5)
    clock.advance(seconds=1)
    await keep(store, 2)
    rows = await store.read(lambda c: calendar.fetched(c, OWNER, 9))
    assert [row.id for row in rows] == [2, 1]


async def test_an_export_reads_every_activity_and_change_once_page_by_page(store: Store):
    for activity_id in (5, 3, 4):
        await keep(store, activity_id, name="before")
        await keep(store, activity_id, name="after")
    await keep(store, 6, athlete_id=OTHER)
    await store.apply(streams(activity_id=4))
    read, last = [], 0
    while rows := await store.read(lambda c, at=last: export.documents(c, OWNER, after_id=at, limit=2)):
        read += [(row.id, row.blob) for row in rows]
        last = rows[-1].id
    assert read == [(3, None), (4, b"PAR1"), (5, None)]
    names, after = [], None
    while rows := await store.read(lambda c, at=after: export.changes(c, OWNER, after_id=at, limit=2)):
        names += [row.activity_id for row in rows if row.field == "name" and row.old_value]
        after = rows[-1].id
    assert names == [5, 3, 4]
