"""What began longer ago than INITIAL_SYNC_DAYS: nothing of it is missed, and nothing stays that is gone."""

from __future__ import annotations

import random

import pytest
from engine import DETAIL, LIST, Engine, make_engine

from feedzone.handlers import backfill_athlete, reconcile_athlete
from feedzone.store.jobs.schedule import Schedule
from feedzone.store.schema.tables import conflicts, strava_activities, strava_athletes


@pytest.fixture
def engine(sqlite_database, clock, tmp_path) -> Engine:
    made, _ = make_engine(sqlite_database, clock, tmp_path)
    return made


@pytest.fixture
def athlete(engine) -> int:
    return next(iter(engine.world.athletes))


def ridden(engine: Engine, athlete: int, *days_ago: float) -> list[int]:
    """Activities of which no event is ever heard."""
    now = engine.world.clock()
    starts = (now - 86_400 * days for days in days_ago)
    made = [engine.world.record(athlete, minutes=5, manual=True, start=start).id for start in starts]
    engine.heard.clear()
    return made


async def held(engine: Engine) -> set[int]:
    return {row.id for row in await engine.rows(strava_activities) if row.sync_status != "deleted"}


async def days_of_comparisons(engine: Engine, days: int) -> None:
    """So many days of what is planned by itself."""
    planned = Schedule(engine.database, engine.clock, engine.app.wakeup, random.Random(1), days=30)
    for _ in range(days * 4):
        engine.clock.advance(hours=6)
        await planned.run()
        await engine.work()
    engine.heard.clear()


@pytest.mark.parametrize("compared", [False, True])
async def test_who_connects_again_after_months_has_what_they_did_meanwhile(engine, athlete, clock, compared):
    """Pain 40."""
    await engine.connect(athlete)
    await engine.work()
    if compared:
        await engine.compare(athlete)
    engine.world.deauthorize(athlete)
    engine.heard.clear()
    clock.advance(hours=7)
    await engine.compare(athlete)
    ((row),) = await engine.rows(strava_athletes)
    assert row.status == "needs_reauth"
    clock.advance(days=60)
    made = ridden(engine, athlete, 59, 45, 35, 5)
    await engine.connect(athlete)
    await engine.work()
    assert set(made) <= await held(engine)


async def test_after_an_outage_of_weeks_the_next_comparison_closes_the_gap(engine, athlete, clock):
    """Pain 14."""
    await engine.connect(athlete)
    await engine.work()
    await engine.compare(athlete)
    clock.advance(days=40)
    made = ridden(engine, athlete, 39, 35, 5)
    engine.app = engine.process()
    await days_of_comparisons(engine, 1)
    assert set(made) <= await held(engine)


async def test_what_was_deleted_years_ago_goes_with_a_comparison_on_demand(
    engine, athlete, clock, monkeypatch
):
    """Pain 52: `sync --all`, and deletions that no event told, slice by slice."""
    monkeypatch.setattr(reconcile_athlete, "SLICE", 20)
    made = ridden(engine, athlete, *range(1, 101))
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    await engine.work()
    assert await held(engine) == set(made)
    gone = {made[50], made[70], made[99]}
    for number in gone:
        engine.world.delete(number)
    engine.heard.clear()
    asked = await engine.compare(athlete)
    assert await held(engine) == set(made) - gone
    assert asked[DETAIL] == len(gone)
    assert await engine.rows(conflicts) == []


async def test_what_was_deleted_years_ago_goes_within_four_weeks_by_itself(engine, athlete, clock):
    """Pain 52; meanwhile the comparisons of four weeks cost what they always did."""
    made = ridden(engine, athlete, *range(1, 101))
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    await engine.work()
    engine.world.delete(made[90])
    engine.heard.clear()
    before = len(engine.calls)
    await days_of_comparisons(engine, 28)
    assert await held(engine) == set(made) - {made[90]}
    asked = engine.asked(before)
    assert asked[DETAIL] == 1
    assert asked[LIST] <= 28 * 5 + 2


async def test_deletions_in_great_number_all_over_a_history_are_a_question_that_stays(
    engine, athlete, monkeypatch
):
    """Pain 52: a comparison of the last days alone does not answer it."""
    monkeypatch.setattr(reconcile_athlete, "SLICE", 20)
    made = ridden(engine, athlete, *range(40, 140))
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    await engine.work()
    for number in made[::5]:
        engine.world.delete(number)
    engine.heard.clear()
    await engine.compare(athlete)
    await days_of_comparisons(engine, 2)
    (question,) = await engine.rows(conflicts, status="open")
    left = len(await held(engine))
    assert left >= 95
    await engine.app.reconciliation.resolve(question.id, accept=True)
    await engine.work()
    assert await held(engine) == set(made) - set(made[::5])


async def test_a_deletion_between_two_pages_hides_no_activity(engine, athlete, clock, monkeypatch):
    """Pain 51: the rest of the list had to wait for the next window."""
    monkeypatch.setattr(backfill_athlete, "PER_PAGE", 5)
    made = ridden(engine, athlete, *range(40, 60))
    await engine.connect(athlete)
    await engine.work()
    await engine.app.athletes.sync(athlete, everything=True)
    (job,) = await engine.app.queue.lease(1, "w/1", 30)
    await engine.app.worker._executor.run(job)
    engine.world.delete(made[0])
    await engine.hear()
    await engine.pass_by(minutes=15)
    assert await held(engine) == set(made[1:])
