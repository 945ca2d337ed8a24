"""Calls that go alone: if others spent the limit or Strava lowered it, one call at most is refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from store_makers import call, usage

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.errors import QuotaSpent
from feedzone.store.quota.budget import BudgetTable


class StandingClock:
    """A clock whose sleepers wait until the test moves it."""

    def __init__(self, clock):
        self.now, self.advance = clock.now, clock.advance
        self._sleepers = []

    async def sleep(self, seconds):
        until = self.now() + timedelta(seconds=seconds)
        self._sleepers.append(until)
        while self.now() < until:
            await asyncio.sleep(0.001)
        self._sleepers.remove(until)

    @property
    def has_sleeper(self):
        return any(until > self.now() for until in self._sleepers)


async def settled(budget, *requests):
    """Wait until the requests are answered, or cannot be before the clock moves."""
    while not all(request.done() for request in requests) and not budget._clock.machine.has_sleeper:
        await asyncio.sleep(0.001)


async def under_way(budget, lane=Lane.LIVE):
    """Return a reservation without an answer yet; False if it must wait for the answer to another call."""
    asking = asyncio.create_task(budget.reserve(lane))
    await asyncio.sleep(0)
    await settled(budget, asking)
    if not asking.done():
        asking.cancel()
        return False
    return asking.result()


@pytest.fixture
def standing(database, clock):
    standing = StandingClock(clock)
    return BudgetTable(database, StravaClock(standing)), standing


async def test_the_first_call_of_a_window_goes_alone_and_the_others_follow_its_answer(standing):
    """If the limit was spent or lowered meanwhile, only one call is refused, not all."""
    budget, clock = standing
    first = await budget.reserve(Lane.LIVE)
    assert first.alone
    assert await under_way(budget) is False
    await budget.answered(first, {})
    clock.advance(seconds=0.1)
    second, third = await under_way(budget), await under_way(budget)
    assert (second.alone, third.alone) == (False, False)
    assert {window.name: window.used for window in await budget.windows()}["read_15min"] == 3


async def test_a_refused_first_call_closes_the_window_for_the_waiting_ones(standing):
    budget, clock = standing
    first = await budget.reserve(Lane.LIVE)
    waiting = [asyncio.create_task(budget.reserve(Lane.LIVE)) for _ in range(5)]
    await settled(budget, *waiting)
    await budget.latch(first, {})
    clock.advance(seconds=0.2)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {QuotaSpent}


async def test_a_call_that_never_ends_delays_the_others_for_five_seconds_only(standing):
    budget, clock = standing
    await budget.reserve(Lane.LIVE)
    clock.advance(seconds=4.9)
    assert await under_way(budget) is False
    clock.advance(seconds=0.2)
    assert (await under_way(budget)).alone


async def test_after_a_first_call_that_was_never_sent_the_next_one_goes_alone(standing):
    budget, _ = standing
    await budget.release(await budget.reserve(Lane.LIVE))
    assert (await under_way(budget)).alone


async def test_where_others_could_spend_the_calls_left_at_once_calls_go_one_by_one(standing):
    """Of two calls under way both could be refused."""
    budget, clock = standing
    await call(budget, read_15min=(1000, 790), read_day=(30_000, 7900), overall_15min=(2000, 790))
    freely = [await under_way(budget) for _ in range(10)]
    assert {reservation.alone for reservation in freely} == {False}
    last_calls = await under_way(budget)
    assert last_calls.alone
    assert await under_way(budget) is False
    await budget.latch(last_calls, usage(read_15min=(1000, 1001)))
    clock.advance(seconds=0.1)
    with pytest.raises(QuotaSpent):
        await budget.reserve(Lane.LIVE)


async def test_calls_that_wait_for_an_answer_follow_by_lane_and_not_by_arrival(standing):
    budget, clock = standing
    first = await budget.reserve(Lane.BACKFILL)
    order = []

    async def ask(lane):
        reservation = await budget.reserve(lane)
        order.append(lane)
        await budget.answered(reservation, usage(read_15min=(100, 50), read_day=(1000, 50)))

    asking = [asyncio.create_task(ask(lane)) for lane in (Lane.BACKFILL, Lane.RECHECK, Lane.LIVE)]
    await settled(budget, *asking)
    await budget.answered(first, usage(read_15min=(100, 50), read_day=(1000, 50)))
    while not all(task.done() for task in asking):
        await settled(budget, *asking)
        clock.advance(seconds=0.1)
        await asyncio.sleep(0.002)
    assert order == [Lane.LIVE, Lane.RECHECK, Lane.BACKFILL]


async def test_where_nobody_else_uses_the_application_the_last_calls_go_at_once(standing):
    budget, _ = standing
    await call(budget)
    assert all([(await under_way(budget)).alone is False for _ in range(99)])


async def test_where_others_use_the_application_a_call_after_a_silence_goes_alone(standing):
    budget, clock = standing
    await call(budget, read_15min=(1000, 30), read_day=(30_000, 30), overall_15min=(2000, 30))
    assert (await under_way(budget)).alone is False
    clock.advance(seconds=21)
    assert (await under_way(budget)).alone


async def test_a_clock_reading_from_just_before_a_call_went_alone_does_not_let_another_follow(
    database, clock
):
    """Two processes: one reads the clock, the other goes alone, and then the first one asks."""
    early, late = StravaClock(StandingClock(clock)), StravaClock(StandingClock(clock))
    late.skew = timedelta(milliseconds=300)
    assert (await BudgetTable(database, late).reserve(Lane.LIVE)).alone
    assert await under_way(BudgetTable(database, early)) is False


async def test_a_clock_reading_from_just_before_a_window_began_does_not_undo_the_window(database, clock):
    early, late = StravaClock(clock), StravaClock(clock)
    late.skew = timedelta(milliseconds=300)
    clock.advance(minutes=14, seconds=59.8)
    old, new = BudgetTable(database, early), BudgetTable(database, late)
    await call(new)
    await old.answered(await old.reserve(Lane.LIVE), usage(read_day=(1000, 7)))
    windows = {window.name: window for window in await new.windows()}
    assert (windows["read_15min"].used, windows["read_day"].used) == (2, 7)


async def test_a_call_that_has_waited_long_for_others_comes_back_later(standing):
    """A run that takes too long costs its job an attempt; waiting costs none."""
    budget, clock = standing
    asking = asyncio.create_task(budget.reserve(Lane.BACKFILL))
    first, began = await asking, clock.now()
    waiting = asyncio.create_task(budget.reserve(Lane.BACKFILL))
    await settled(budget, waiting)
    for _ in range(8):
        # Other calls of the process go first, and each answer takes its time.
        better = asyncio.create_task(budget.reserve(Lane.LIVE))
        await budget.answered(first, usage(read_15min=(100, 50), read_day=(1000, 50)))
        clock.advance(seconds=0.1)
        first = await better
        await settled(budget, waiting)
        clock.advance(seconds=4)
        await settled(budget, waiting)
    with pytest.raises(QuotaSpent) as spent:
        await waiting
    assert timedelta(seconds=30) < spent.value.until - began < timedelta(seconds=40)
