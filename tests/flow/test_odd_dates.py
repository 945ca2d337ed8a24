"""A device with a wrong clock records activities of any date: comparisons find, edit and delete them, too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from engine import DETAIL, LIST, ManualEngine, make_engine

from feedzone.store.schema.tables import strava_activities

YEAR_S = 365.25 * 86_400


@pytest.fixture
def engine(database, clock, tmp_path) -> ManualEngine:
    made, _ = make_engine(database, clock, tmp_path)
    return made


@pytest.fixture
async def athlete(engine) -> int:
    """Return an athlete who is connected and has two ordinary activities."""
    (athlete_id,) = engine.world.athletes
    for days in (2, 3):
        engine.world.record(athlete_id, "Run", 20, start=engine.world.clock() - days * 86_400)
    await engine.connect(athlete_id)
    await engine.work()
    engine.announced.clear()
    return athlete_id


async def names(engine) -> dict[int, str]:
    rows = await engine.rows(strava_activities)
    return {row.id: row.name for row in rows if row.sync_status == "synced"}


@pytest.mark.parametrize("years", [0.01, 2, 9, 30, 79], ids=str)
async def test_an_activity_dated_ahead_is_found_edited_and_deleted(engine, athlete, years):
    spec = engine.world.record(athlete, "Ride", 20, start=engine.world.clock() + years * YEAR_S)
    await engine.reconcile(athlete)
    assert spec.id in await names(engine)
    engine.world.rename(spec.id, "From the future")
    await engine.reconcile(athlete)
    assert (await names(engine))[spec.id] == "From the future"
    engine.world.delete(spec.id)
    await engine.reconcile(athlete)
    await engine.advance_and_work(minutes=30)
    assert spec.id not in await names(engine)


@pytest.mark.parametrize("year", [1901, 1969, 1970, 1999, 2020])
async def test_a_stored_activity_of_an_odd_date_is_compared_each_day(engine, athlete, year):
    start = datetime(year, 6, 1, tzinfo=UTC).timestamp()
    spec = engine.world.record(athlete, "Ride", 20, start=start)
    await engine.deliver_announced()
    await engine.advance_and_work(minutes=5)
    assert spec.id in await names(engine)
    engine.world.rename(spec.id, "From the past")
    await engine.advance_and_work(days=2)
    requests = await engine.reconcile(athlete)
    assert requests[DETAIL] <= 1
    assert (await names(engine))[spec.id] == "From the past"
    engine.world.delete(spec.id)
    await engine.advance_and_work(days=1)
    await engine.reconcile(athlete)
    await engine.advance_and_work(hours=1)
    await engine.reconcile(athlete)
    await engine.advance_and_work(hours=1)
    assert spec.id not in await names(engine)


async def test_an_activity_whose_date_makes_no_sense_is_stored_and_deleted(engine, athlete, monkeypatch):
    spec = engine.world.record(athlete, "Ride", 20, start=engine.world.clock() - 5 * 86_400)
    for name in ("detail", "summary"):
        shown = getattr(engine.world, name)
        monkeypatch.setattr(
            engine.world,
            name,
            lambda each, shown=shown: (
                shown(each) | ({"start_date": "12026-11-03T06:00:00Z"} if each.id == spec.id else {})
            ),
        )
    await engine.deliver_announced()
    await engine.advance_and_work(minutes=5)
    (row,) = await engine.rows(strava_activities, id=spec.id)
    assert (row.start_date, row.sync_status) == (None, "synced")
    engine.world.delete(spec.id)
    for _ in range(3):
        await engine.advance_and_work(days=1)
        await engine.reconcile(athlete)
        await engine.advance_and_work(minutes=30)
    assert spec.id not in await names(engine)


async def test_an_ordinary_comparison_costs_no_more_than_its_list(engine, athlete):
    engine.world.record(athlete, "Ride", 20, start=engine.world.clock() + 5 * YEAR_S)
    await engine.reconcile(athlete)
    await engine.advance_and_work(days=1)
    assert await engine.reconcile(athlete) == {LIST: 2}
