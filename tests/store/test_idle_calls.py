"""Idle calls compare athletes with Strava, and fetch doubted streams, when nobody else needs them."""

from __future__ import annotations

import random
from datetime import timedelta

import msgspec
import pytest
from store_makers import ACTIVITY, OTHER, OWNER, detail, fetched, spec, streams
from test_schedule import CountingWakeup, subscribe

from feedzone.clock import StravaClock
from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import FinishListing, StoreReconciliation
from feedzone.domain.job import Lane, RefreshHint
from feedzone.domain.quota.windows import DEFAULT_LIMITS, window_start
from feedzone.store import athletes
from feedzone.store.jobs.idle import IdleSchedule
from feedzone.store.jobs.schedule import ReconciliationSchedule
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.quota.windows import begin
from feedzone.store.schema.tables import api_budget, jobs, reconciliations, strava_athletes

COMPARED = StoreReconciliation(OWNER, True, (), ())


class Certain(random.Random):
    """Every chance is taken."""

    def random(self) -> float:
        return 0.0


def idle_schedule(store) -> IdleSchedule:
    budget = BudgetTable(store.database, StravaClock(store.clock))
    return IdleSchedule(
        store.database, store.clock, CountingWakeup(), budget, Certain(), days=30, every_s=30.0
    )


@pytest.fixture
async def compared(store):
    """An active athlete whose activities were compared just now, and another one who never was."""
    await store.write(lambda c: begin(c, DEFAULT_LIMITS, store.clock.now()))
    await subscribe(store)
    await store.apply(FinishListing(OWNER), fetched(detail()), streams(), COMPARED)
    return store


async def enqueued(store) -> list:
    await idle_schedule(store).run()
    return await store.rows(jobs)


async def test_an_active_athlete_is_compared_again_after_ten_minutes(compared, clock):
    clock.advance(minutes=9)
    assert await enqueued(compared) == []
    clock.advance(minutes=1, seconds=1)
    (job,) = await enqueued(compared)
    assert (job.kind, job.athlete_id, job.priority) == ("reconcile_athlete", OWNER, Lane.BACKFILL)
    clock.advance(hours=1)
    assert len(await enqueued(compared)) == 1  # while one waits, no other is enqueued


async def test_a_resting_athlete_is_compared_less_often(compared, clock):
    clock.advance(days=20)
    await compared.apply(COMPARED)
    clock.advance(minutes=30)
    assert await enqueued(compared) == []
    clock.advance(minutes=11)
    assert len(await enqueued(compared)) == 1


@pytest.mark.parametrize("lane", [Lane.BACKFILL])
async def test_nothing_begins_while_a_backfill_waits(compared, clock, lane):
    await compared.enqueue(spec(5, lane=lane))
    clock.advance(hours=2)
    assert [job.key for job in await enqueued(compared)] == ["activity:5"]


async def test_a_backfill_that_a_failure_delays_for_hours_stops_no_comparison(compared, clock):
    await compared.enqueue(spec(5, lane=Lane.BACKFILL, due_at=clock.now() + timedelta(hours=9)))
    clock.advance(hours=2)
    assert len(await enqueued(compared)) == 2


async def test_nothing_begins_while_the_day_needs_its_calls(compared, clock):
    clock.advance(hours=5)

    def spend(connection) -> None:
        for name in ("read_day", "overall_day"):
            row = api_budget.update().where(api_budget.c.window == name)
            connection.execute(row.values(starts_at=window_start(name, clock.now()), used=950, quota=1000))

    await compared.write(spend)
    assert await enqueued(compared) == []


async def test_a_comparison_that_failed_is_not_repeated_before_the_usual_time(compared, clock):
    clock.advance(minutes=11)
    assert len(await enqueued(compared)) == 1
    await compared.write(lambda c: c.execute(jobs.delete()))
    clock.advance(hours=1)
    assert await enqueued(compared) == []


async def test_comparisons_from_idle_calls_replace_those_of_the_schedule(compared, clock):
    """Every six hours is a floor, not an addition."""
    plan = ReconciliationSchedule(compared.database, clock, CountingWakeup(), random.Random(1), days=30)
    await compared.write(lambda c: athletes.schedule_reconciliation(c, OWNER, clock.now()))
    for _ in range(36):
        clock.advance(minutes=20)
        await idle_schedule(compared).run()
        await compared.write(lambda c: c.execute(jobs.delete()))
        await compared.apply(COMPARED)
        await plan.run()
        assert OWNER not in {job.athlete_id for job in await compared.rows(jobs)}


async def test_the_first_comparison_of_a_day_reads_the_whole_list(compared, clock):
    clock.advance(hours=24)
    (job,) = await enqueued(compared)
    assert msgspec.json.decode(job.hint).get("to_end", True)


# Streams


async def doubt(store) -> None:
    await store.apply(StoreReconciliation(OWNER, True, (), (), everything=True))


async def test_the_comparison_of_everything_puts_all_streams_in_doubt(compared, clock):
    clock.advance(minutes=1)
    await doubt(compared)
    (job,) = await enqueued(compared)
    assert (job.kind, job.key, job.priority) == ("refresh_activity", f"activity:{ACTIVITY}", Lane.BACKFILL)
    assert msgspec.json.decode(job.hint, type=RefreshHint).streams_only
    await compared.write(lambda c: c.execute(jobs.delete()))
    clock.advance(minutes=1)
    await compared.apply(streams())
    assert await enqueued(compared) == []
    assert (await compared.row(strava_athletes, id=OWNER)).streams_doubted_at is None


async def test_streams_whose_fetch_failed_are_not_asked_for_again_and_again(compared, clock):
    clock.advance(minutes=1)
    await doubt(compared)
    await enqueued(compared)
    await compared.write(lambda c: c.execute(jobs.update().values(state="dead")))
    clock.advance(minutes=1)
    assert [job.state for job in await enqueued(compared)] == ["dead"]


@pytest.mark.parametrize(("scopes", "doubted"), [("activity:read_all,read", True), ("read", False)])
async def test_a_consent_with_other_scopes_puts_streams_in_doubt(compared, clock, scopes, doubted):
    await compared.write(
        lambda c: c.execute(
            strava_athletes.update().values(scopes="read").where(strava_athletes.c.id == OWNER)
        )
    )
    clock.advance(minutes=1)
    profile = AthleteProfile(OWNER, "ada", "Ada", "Lovelace")
    await compared.write(lambda c: athletes.connect(c, profile, scopes, "active", None, clock.now()))
    assert bool(await enqueued(compared)) is doubted


async def test_doubted_streams_of_another_athlete_stay(compared, clock):
    clock.advance(minutes=1)
    await compared.apply(streams(activity_id=5, athlete_id=OTHER))
    clock.advance(minutes=1)
    await doubt(compared)
    assert [job.athlete_id for job in await enqueued(compared)] == [OWNER]
    assert len(await compared.rows(reconciliations)) == 2
