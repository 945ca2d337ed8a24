"""Activities older than INITIAL_SYNC_DAYS: none is missed, and none stays that Strava has deleted."""

from __future__ import annotations

import random

import pytest
from engine import DETAIL, LIST, ManualEngine, make_engine

from feedzone.handlers import backfill_athlete, reconcile_athlete
from feedzone.store.jobs.schedule import ReconciliationSchedule
from feedzone.store.schema.tables import conflicts, strava_activities, strava_athletes


@pytest.fixture
def engine(sqlite_database, clock, tmp_path) -> ManualEngine:
    made, _ = make_engine(sqlite_database, clock, tmp_path)
    return made


@pytest.fixture
def athlete(engine) -> int:
    return next(iter(engine.world.athletes))


def ridden(engine: ManualEngine, athlete: int, *days_ago: float) -> list[int]:
    """Record activities without delivering their events."""
    now = engine.world.clock()
    starts = (now - 86_400 * days for days in days_ago)
    made = [engine.world.record(athlete, minutes=5, manual=True, start=start).id for start in starts]
    engine.announced.clear()
    return made


async def live_ids(engine: ManualEngine) -> set[int]:
    return {row.id for row in await engine.rows(strava_activities) if row.sync_status != "deleted"}


async def days_of_comparisons(engine: ManualEngine, days: int) -> None:
    """Let `days` pass, with the reconciliations that are scheduled in them."""
    planned = ReconciliationSchedule(
        engine.database, engine.clock, engine.app.wakeup, random.Random(1), days=30
    )
    for _ in range(days * 4):
        engine.clock.advance(hours=6)
        await planned.run()
        await engine.work()
    engine.announced.clear()


@pytest.mark.parametrize("compared", [False, True])
async def test_reconnecting_after_months_fetches_the_activities_of_the_gap(engine, athlete, clock, compared):
    await engine.connect(athlete)
    await engine.work()
    if compared:
        await engine.reconcile(athlete)
    engine.world.deauthorize(athlete)
    engine.announced.clear()
    clock.advance(hours=7)
    await engine.reconcile(athlete)
    ((row),) = await engine.rows(strava_athletes)
    assert row.status == "needs_reauth"
    clock.advance(days=60)
    made = ridden(engine, athlete, 59, 45, 35, 5)
    await engine.connect(athlete)
    await engine.work()
    assert set(made) <= await live_ids(engine)


async def test_after_an_outage_of_weeks_the_next_reconciliation_closes_the_gap(engine, athlete, clock):
    await engine.connect(athlete)
    await engine.work()
    await engine.reconcile(athlete)
    clock.advance(days=40)
    made = ridden(engine, athlete, 39, 35, 5)
    engine.app = engine.process()
    await days_of_comparisons(engine, 1)
    assert set(made) <= await live_ids(engine)


async def test_a_requested_reconciliation_removes_old_activities_deleted_at_strava(
    engine, athlete, clock, monkeypatch
):
    """After `sync --all`, a reconciliation finds deletions without events, slice by slice."""
    monkeypatch.setattr(reconcile_athlete, "SLICE", 20)
    made = ridden(engine, athlete, *range(1, 101))
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    await engine.work()
    assert await live_ids(engine) == set(made)
    gone = {made[50], made[70], made[99]}
    for number in gone:
        engine.world.delete(number)
    engine.announced.clear()
    requests = await engine.reconcile(athlete)
    assert requests[DETAIL] == len(gone)
    await engine.advance_and_work(minutes=3)
    assert await live_ids(engine) == set(made) - gone
    assert await engine.rows(conflicts) == []


async def test_old_activities_deleted_at_strava_are_removed_within_four_weeks(engine, athlete, clock):
    """The reconciliations of those four weeks cost no more calls than usual."""
    made = ridden(engine, athlete, *range(1, 101))
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    await engine.work()
    engine.world.delete(made[90])
    engine.announced.clear()
    before = len(engine.calls)
    await days_of_comparisons(engine, 28)
    assert await live_ids(engine) == set(made) - {made[90]}
    requests = engine.requests(before)
    assert requests[DETAIL] == 2
    assert requests[LIST] <= 28 * 5 + 2


async def test_many_deletions_across_a_history_open_a_conflict_that_stays_open(engine, athlete, monkeypatch):
    """A reconciliation of the last days does not close it."""
    monkeypatch.setattr(reconcile_athlete, "SLICE", 20)
    made = ridden(engine, athlete, *range(40, 140))
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    await engine.work()
    for number in made[::5]:
        engine.world.delete(number)
    engine.announced.clear()
    await engine.reconcile(athlete)
    await days_of_comparisons(engine, 2)
    (question,) = await engine.rows(conflicts, status="open")
    left = len(await live_ids(engine))
    assert left >= 95
    await engine.app.reconciliation.resolve(question.id, accept=True)
    await engine.work()
    await engine.advance_and_work(minutes=3)
    assert await live_ids(engine) == set(made) - set(made[::5])


async def test_a_deletion_between_two_pages_hides_no_activity(engine, athlete, clock, monkeypatch):
    """The rest of the list had to wait for the next rate limit window."""
    monkeypatch.setattr(backfill_athlete, "PER_PAGE", 5)
    made = ridden(engine, athlete, *range(40, 60))
    await engine.connect(athlete)
    await engine.work()
    await engine.app.athletes.sync(athlete, everything=True)
    (job,) = await engine.app.queue.lease(1, "w/1", 30)
    await engine.app.worker._executor.run(job)
    engine.world.delete(made[0])
    await engine.deliver_announced()
    await engine.advance_and_work(minutes=15)
    await engine.advance_and_work(minutes=3)
    assert await live_ids(engine) == set(made[1:])
