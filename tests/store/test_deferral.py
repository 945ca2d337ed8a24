"""Jobs without calls left are deferred together, at no cost, until calls are left again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import OTHER, OWNER, detail, event, fetched, retitled, spec

from feedzone.clock import StravaClock
from feedzone.domain.backoff import LIST_HEAD_START
from feedzone.domain.job import Lane, RefreshHint, activity_key
from feedzone.domain.quota.windows import Reading, Reservation
from feedzone.store.jobs import deferral
from feedzone.store.jobs.deferral import AT_ONCE
from feedzone.store.jobs.unfinished import UnfinishedSchedule
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema.tables import jobs
from feedzone.worker.wakeup import LocalWakeup


@pytest.fixture
def budget(store, clock) -> BudgetTable:
    return BudgetTable(store.database, StravaClock(clock))


async def headers(budget, **readings):
    await budget.answered(Reservation(), {name: Reading(*reading) for name, reading in readings.items()})


async def lease(store, limit=10):
    return [job.object_id for job in await store.queue.lease(limit, "w/1", 30)]


async def waits(store):
    return sorted((row.due_at - store.clock.now()).total_seconds() for row in await store.rows(jobs))


async def test_backfill_waits_for_the_next_window_with_calls_left_and_costs_no_attempt(store, budget, clock):
    await headers(budget, read_15min=(100, 96), read_day=(1000, 96))
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL) for n in range(1, 3)))
    assert await lease(store) == []
    released = (14 * 60 + 15) + 1, (14 * 60 + 15) + 5
    assert all(released[0] <= wait <= released[1] for wait in await waits(store))
    rows = await store.rows(jobs)
    assert {(row.state, row.attempts, row.wait_reason) for row in rows} == {("queued", 0, "quota")}
    assert all(row.last_error.startswith("no quota left in window read_15min") for row in rows)
    clock.advance(minutes=14, seconds=20)
    assert await lease(store) == [1, 2]


async def test_live_work_continues_while_backfill_waits(store, budget):
    await headers(budget, read_15min=(100, 85), read_day=(1000, 85))
    await store.enqueue(spec(1, lane=Lane.BACKFILL), spec(2), spec(3, lane=Lane.INTERACTIVE))
    assert await lease(store) == [2, 3]


async def test_low_lanes_do_not_take_the_calls_of_live_work_that_is_due_within_seconds(store, budget, clock):
    """Guarantee 4: when a window opens, the deferred jobs come back one after the other."""
    await headers(budget, read_15min=(100, 70), read_day=(1000, 70))
    soon = clock.now() + timedelta(seconds=2)
    await store.enqueue(*(spec(n, due_at=soon) for n in range(1, 13)))
    await store.enqueue(
        spec(20, lane=Lane.INTERACTIVE), *(spec(n, lane=Lane.BACKFILL) for n in range(30, 40))
    )
    assert await lease(store) == [20]
    clock.advance(seconds=3)
    assert await lease(store, 20) == list(range(1, 13))


async def test_a_spent_day_defers_all_low_lanes_until_midnight(store, budget):
    """No job calls before calls can be left."""
    await headers(budget, read_day=(1000, 1000))
    lanes = (Lane.RECONCILE, Lane.RECHECK, Lane.BACKFILL)
    await store.enqueue(*(spec(n, lane=lane) for n, lane in enumerate(lanes)))
    assert await lease(store) == []
    assert all(12 * 3600 < wait <= 12 * 3600 + 5 for wait in await waits(store))


async def test_thousands_of_jobs_are_deferred(store, budget):
    await headers(budget, read_day=(1000, 1000))
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL) for n in range(AT_ONCE * 2 + 7)))
    assert await lease(store) == []
    assert min(await waits(store)) > 12 * 3600


async def leave_calls(store, budget, calls):
    """Spend the quarter of an hour, except this number of calls for backfills."""
    demand = await budget.demand()
    left = (
        (await store.read(lambda c: budget.lane_limits(c, demand, Lane, 1000))).by_lane[Lane.BACKFILL].calls
    )
    await headers(budget, read_15min=(100, left - calls))


async def test_only_jobs_with_calls_left_are_leased_and_the_rest_is_deferred(store, budget):
    """An activity costs two calls: every job that begins can finish, so backfills end in their order."""
    await leave_calls(store, budget, calls=6)
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL) for n in range(1, 9)))
    assert await lease(store) == [1, 2, 3]
    assert [wait <= 0 for wait in await waits(store)] == [True] * 3 + [False] * 5


async def test_running_jobs_may_finish_and_the_rest_stays_due(store, budget):
    await leave_calls(store, budget, calls=7)
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL) for n in range(1, 9)))
    assert await lease(store, limit=2) == [1, 2]
    assert await lease(store) == [3]
    assert await lease(store) == []
    assert [wait <= 0 for wait in await waits(store)] == [
        True
    ] * 8  # the calls that they do not make are available at once


async def test_the_last_call_is_not_lost_the_next_job_begins_with_it(store, budget):
    await leave_calls(store, budget, calls=1)
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL) for n in range(1, 4)))
    assert await lease(store) == [1]
    assert [wait <= 0 for wait in await waits(store)] == [True, False, False]


async def test_a_job_that_needs_only_streams_costs_one_call(store, budget):
    await leave_calls(store, budget, calls=3)
    hint = RefreshHint(streams_only=True)
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL, hint=hint) for n in range(1, 9)))
    assert await lease(store) == [1, 2, 3]


async def test_a_worker_with_enough_jobs_of_higher_lanes_defers_nothing(store, budget):
    await headers(budget, read_day=(1000, 990))
    await store.enqueue(*(spec(n) for n in range(1, 4)), spec(9, lane=Lane.BACKFILL))
    assert await lease(store, limit=3) == [1, 2, 3]
    assert await waits(store) == [0, 0, 0, 0]


async def test_a_raised_limit_makes_the_jobs_due_that_waited_for_the_old_one(store, budget, clock):
    await headers(budget, read_day=(1000, 1000))
    await store.enqueue(spec(1, lane=Lane.BACKFILL), spec(2, lane=Lane.BACKFILL, athlete_id=OTHER))
    later = clock.now() + timedelta(hours=6)
    await store.enqueue(spec(3, lane=Lane.RECHECK, due_at=later))
    assert await lease(store) == []
    await headers(budget, read_day=(3000, 1000))
    worker = LocalWakeup()
    schedule = UnfinishedSchedule(store.database, clock, worker)
    assert await schedule.run() == 2
    assert await worker.wait(5), "an idle worker looks at once"
    assert await lease(store) == [1, 2]
    assert (await store.row(jobs, key="activity:3")).due_at == later
    await headers(budget, read_day=(3000, 3000))
    await store.enqueue(spec(4, lane=Lane.BACKFILL))
    assert await lease(store) == []
    assert await schedule.run() == 0, "a job that waits for the raised limit goes on waiting"


async def test_a_lowered_limit_defers_the_jobs_that_no_longer_fit(store, budget):
    await store.enqueue(spec(1, lane=Lane.BACKFILL), spec(2, lane=Lane.BACKFILL))
    assert await lease(store, limit=1) == [1]
    await headers(budget, read_day=(10, 12))
    assert await lease(store) == []


async def test_a_crowd_of_uploads_defers_the_next_jobs_only_and_the_list_goes_first(store, monkeypatch):
    """A storm of thousands must not lock as many rows in the transaction of one event."""
    monkeypatch.setattr(deferral, "AT_ONCE", 3)
    await store.enqueue(*(spec(number) for number in range(1, 21)))
    await store.enqueue(spec(30, lane=Lane.BACKFILL), spec(31, athlete_id=OTHER))
    await store.deliver(*(event(object_id=100 + number) for number in range(6)))
    waiting = await store.rows(jobs, wait_reason="list_first")
    assert [row.key for row in waiting] == [activity_key(number) for number in (1, 2, 3)]
    assert {row.due_at for row in waiting} == {store.clock.now() + LIST_HEAD_START}
    assert (await store.lease(1))[0].kind == "list_activities"


async def test_only_what_is_due_waits_for_a_list_and_only_what_still_waits_goes_on_after_it(
    store, clock, monkeypatch
):
    await store.deliver(*(event(object_id=number) for number in range(1, 7)))
    monkeypatch.setattr("feedzone.domain.event.DEBOUNCE", timedelta(seconds=30))
    await store.apply(fetched(detail(50)))
    await store.deliver(retitled("Lunch Ride", object_id=50))
    debounced = await store.row(jobs, key=activity_key(50))
    assert (debounced.due_at, debounced.wait_reason) == (clock.now() + timedelta(seconds=30), "debounce")
    deferred = {row.due_at for row in await store.rows(jobs, wait_reason="list_first")}
    clock.advance(seconds=5)
    await store.write(lambda c: deferral.resume_after_list(c, OWNER, clock.now()))
    assert {row.due_at for row in await store.rows(jobs, wait_reason="list_first")} == deferred
