"""Calls that go alone: where others may have spent the limit, or lowered it, one at most is refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from store_makers import call, usage

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.errors import QuotaSpent
from feedzone.store.quota.budget import BudgetTable


async def under_way(budget, lane=Lane.LIVE):
    """Leave for a call that is not answered yet; False when it has to wait for another's answer."""
    asking = asyncio.create_task(budget.reserve(lane))
    done, _ = await asyncio.wait([asking], timeout=0.4)
    if not done:
        asking.cancel()
        return False
    return asking.result()


class StandingClock:
    """Sleeping waits for the test to move it."""

    def __init__(self, clock):
        self.now, self.advance = clock.now, clock.advance

    async def sleep(self, seconds):
        until = self.now() + timedelta(seconds=seconds)
        while self.now() < until:
            await asyncio.sleep(0.001)


@pytest.fixture
def standing(database, clock):
    standing = StandingClock(clock)
    return BudgetTable(database, StravaClock(standing)), standing


async def test_the_first_call_of_a_window_goes_alone_and_the_others_follow_its_answer(standing):
    """Who has spent the limit or lowered it meanwhile is met by one call, not by all."""
    budget, clock = standing
    first = await budget.reserve(Lane.LIVE)
    assert first.alone
    assert await under_way(budget) is False
    await budget.answered(first, {})
    clock.advance(seconds=0.1)
    second, third = await under_way(budget), await under_way(budget)
    assert (second.alone, third.alone) == (False, False)
    assert {window.name: window.used for window in await budget.windows()}["read_15min"] == 3


async def test_a_first_call_that_is_refused_closes_the_window_for_those_who_waited(standing):
    budget, clock = standing
    first = await budget.reserve(Lane.LIVE)
    waiting = [asyncio.create_task(budget.reserve(Lane.LIVE)) for _ in range(5)]
    await asyncio.sleep(0.05)
    await budget.latch(first, {})
    clock.advance(seconds=0.2)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {QuotaSpent}


async def test_a_call_that_never_ends_keeps_the_others_waiting_for_five_seconds_only(standing):
    budget, clock = standing
    await budget.reserve(Lane.LIVE)
    clock.advance(seconds=4.9)
    assert await under_way(budget) is False
    clock.advance(seconds=0.2)
    assert (await under_way(budget)).alone


async def test_a_first_call_that_never_left_lets_the_next_one_go_first(standing):
    budget, _ = standing
    await budget.release(await budget.reserve(Lane.LIVE))
    assert (await under_way(budget)).alone


async def test_where_others_could_spend_what_is_left_at_once_calls_go_one_by_one(standing):
    """Pain 41: of two calls under way both could be refused."""
    budget, clock = standing
    await call(budget, read_15min=(1000, 790), read_day=(30_000, 7900), overall_15min=(2000, 790))
    freely = [await under_way(budget) for _ in range(10)]
    assert {leave.alone for leave in freely} == {False}
    close = await under_way(budget)
    assert close.alone
    assert await under_way(budget) is False
    await budget.latch(close, usage(read_15min=(1000, 1001)))
    clock.advance(seconds=0.1)
    with pytest.raises(QuotaSpent):
        await budget.reserve(Lane.LIVE)


async def test_who_waits_for_an_answer_goes_by_lane_and_not_by_who_came_first(standing):
    budget, clock = standing
    first = await budget.reserve(Lane.BACKFILL)
    order = []

    async def ask(lane):
        leave = await budget.reserve(lane)
        order.append(lane)
        await budget.answered(leave, usage(read_15min=(100, 50), read_day=(1000, 50)))

    asking = [asyncio.create_task(ask(lane)) for lane in (Lane.BACKFILL, Lane.RECHECK, Lane.LIVE)]
    await asyncio.sleep(0.05)
    await budget.answered(first, usage(read_15min=(100, 50), read_day=(1000, 50)))
    while not all(task.done() for task in asking):
        clock.advance(seconds=0.1)
        await asyncio.sleep(0.01)
    assert order == [Lane.LIVE, Lane.RECHECK, Lane.BACKFILL]


async def test_alone_with_the_limit_the_last_calls_go_at_once(standing):
    budget, _ = standing
    await call(budget)
    assert all([(await under_way(budget)).alone is False for _ in range(99)])


async def test_where_others_spend_the_limit_too_a_call_after_a_silence_goes_alone(standing):
    budget, clock = standing
    await call(budget, read_15min=(1000, 30), read_day=(30_000, 30), overall_15min=(2000, 30))
    assert (await under_way(budget)).alone is False
    clock.advance(seconds=21)
    assert (await under_way(budget)).alone


async def test_a_look_at_the_clock_just_before_somebody_went_alone_lets_nobody_follow(database, clock):
    """Two processes: the one reads the clock, the other goes alone, and then the first one asks."""
    early, late = StravaClock(StandingClock(clock)), StravaClock(StandingClock(clock))
    late.skew = timedelta(milliseconds=300)
    assert (await BudgetTable(database, late).reserve(Lane.LIVE)).alone
    assert await under_way(BudgetTable(database, early)) is False


async def test_a_look_at_the_clock_just_before_a_window_begins_does_not_undo_it(database, clock):
    early, late = StravaClock(clock), StravaClock(clock)
    late.skew = timedelta(milliseconds=300)
    clock.advance(minutes=14, seconds=59.8)
    old, new = BudgetTable(database, early), BudgetTable(database, late)
    await call(new)
    await old.answered(await old.reserve(Lane.LIVE), usage(read_day=(1000, 7)))
    held = {window.name: window for window in await new.windows()}
    assert (held["read_15min"].used, held["read_day"].used) == (2, 7)


async def test_who_has_waited_long_for_others_comes_back_later(standing):
    """A run that takes too long costs its job an attempt; waiting costs none."""
    budget, clock = standing
    asking = asyncio.create_task(budget.reserve(Lane.BACKFILL))
    first, began = await asking, clock.now()
    waiting = asyncio.create_task(budget.reserve(Lane.BACKFILL))
    for _ in range(8):
        # Others of its process go first, and each answer takes its time.
        better = asyncio.create_task(budget.reserve(Lane.LIVE))
        await budget.answered(first, usage(read_15min=(100, 50), read_day=(1000, 50)))
        await asyncio.sleep(0.02)
        clock.advance(seconds=0.1)
        first = await better
        clock.advance(seconds=4)
        await asyncio.sleep(0.02)
    with pytest.raises(QuotaSpent) as told:
        await waiting
    assert timedelta(seconds=30) < told.value.until - began < timedelta(seconds=40)
