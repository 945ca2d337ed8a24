"""The rate limit: shared by all, never overspent, and open again the moment Strava's windows turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from feedzone.domain.budget import DEFAULT_LIMITS, WINDOWS, Reading
from feedzone.errors import QuotaSpent
from feedzone.store.budget import BudgetTable

QUARTER = datetime(2026, 11, 3, 12, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 4, tzinfo=UTC)


@pytest.fixture
def budget(database, clock) -> BudgetTable:
    return BudgetTable(database, clock)


async def used(budget):
    return {window.name: window.used for window in await budget.windows()}


def usage(**readings):
    return {name: Reading(*reading) for name, reading in readings.items()}


async def spend(budget, times, *, read=True):
    for _ in range(times):
        await budget.reserve(read=read)


async def test_before_the_first_call_the_limits_are_a_new_applications(budget):
    assert {window.name: window.quota for window in await budget.windows()} == DEFAULT_LIMITS
    assert await used(budget) == dict.fromkeys(WINDOWS, 0)


async def test_a_read_counts_in_all_four_windows_and_another_call_in_two(budget):
    await spend(budget, 3)
    await spend(budget, 2, read=False)
    assert await used(budget) == {
        "overall_15min": 5,
        "overall_day": 5,
        "read_15min": 3,
        "read_day": 3,
    }


async def test_a_call_that_was_never_sent_is_given_back(budget):
    await spend(budget, 2)
    await budget.release(read=True)
    assert await used(budget) == dict.fromkeys(WINDOWS, 1)


async def test_giving_back_more_than_was_taken_makes_no_credit(budget):
    await budget.release(read=True)
    assert await used(budget) == dict.fromkeys(WINDOWS, 0)


@pytest.mark.parametrize(
    ("window", "until"),
    [
        ("overall_15min", QUARTER),
        ("overall_day", MIDNIGHT),
        ("read_15min", QUARTER),
        ("read_day", MIDNIGHT),
    ],
)
async def test_a_spent_window_is_named_with_its_end_and_nothing_is_counted(budget, window, until):
    await budget.observe(usage(**{window: (2, 1)}))
    await budget.reserve(read=True)
    before = await used(budget)
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(read=True)
    assert (spent.value.window, spent.value.until) == (window, until)
    assert await used(budget) == before


async def test_when_several_windows_are_spent_the_one_that_opens_last_is_named(budget):
    """Else a job would wake up each quarter of the day, only to wait again."""
    await budget.observe(usage(overall_15min=(2, 2), overall_day=(9, 9), read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(read=True)
    assert spent.value.until == MIDNIGHT


async def test_a_spent_read_limit_does_not_stop_logins(budget):
    """Pain 45: token calls are never blocked by a read latch."""
    await budget.observe(usage(read_15min=(100, 100), read_day=(1000, 1000)))
    with pytest.raises(QuotaSpent):
        await budget.reserve(read=True)
    await budget.reserve(read=False)


async def test_the_tighter_read_limit_binds_while_the_overall_one_has_room(budget):
    """Pain 44."""
    await budget.observe(usage(overall_15min=(200, 40), read_15min=(100, 100)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(read=True)
    assert spent.value.window == "read_15min"


async def test_the_short_windows_turn_at_the_quarter_and_the_days_do_not(budget, clock):
    await spend(budget, 4)
    clock.advance(minutes=14, seconds=59)
    assert (await used(budget))["read_15min"] == 4
    clock.advance(seconds=1)
    assert await used(budget) == {"overall_15min": 0, "overall_day": 4, "read_15min": 0, "read_day": 4}
    await budget.reserve(read=True)
    assert await used(budget) == {"overall_15min": 1, "overall_day": 5, "read_15min": 1, "read_day": 5}


async def test_the_day_turns_at_midnight_utc(budget, clock):
    await spend(budget, 4)
    clock.advance(hours=11, minutes=59, seconds=59)
    assert (await used(budget))["read_day"] == 4
    clock.advance(seconds=1)
    assert await used(budget) == dict.fromkeys(WINDOWS, 0)


async def test_a_spent_window_opens_at_the_very_instant_that_was_named(budget, clock):
    await budget.observe(usage(read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(read=True)
    clock.advance(seconds=(spent.value.until - clock.now()).total_seconds())
    await budget.reserve(read=True)


async def test_of_our_count_and_stravas_the_larger_is_right(budget):
    await spend(budget, 5)
    await budget.observe(usage(read_15min=(100, 3), read_day=(1000, 77)))
    seen = await used(budget)
    assert (seen["read_15min"], seen["read_day"]) == (5, 77)


async def test_limits_follow_the_headers_up_and_down_and_stay(budget, clock):
    await budget.observe(usage(read_15min=(600, 1), overall_15min=(150, 1)))
    clock.advance(days=2)
    await budget.reserve(read=True)
    quotas = {window.name: window.quota for window in await budget.windows()}
    assert quotas == DEFAULT_LIMITS | {"read_15min": 600, "overall_15min": 150}


async def test_headers_that_say_half_of_it_correct_half_of_it(budget):
    await spend(budget, 2)
    await budget.observe(usage(read_15min=(None, 7), read_day=(500, None)))
    await budget.observe({})
    windows = {window.name: window for window in await budget.windows()}
    assert (windows["read_15min"].quota, windows["read_15min"].used) == (100, 7)
    assert (windows["read_day"].quota, windows["read_day"].used) == (500, 2)


async def test_a_429_closes_the_window_that_its_headers_show_as_spent_for_everyone(budget, clock, database):
    until = await budget.latch(usage(read_15min=(100, 100), read_day=(1000, 400), overall_15min=(200, 100)))
    assert until == QUARTER
    assert [window.name for window in await budget.windows() if window.latched] == ["read_15min"]
    with pytest.raises(QuotaSpent):
        await BudgetTable(database, clock).reserve(read=True)
    await budget.reserve(read=False)


async def test_a_429_that_shows_the_day_as_spent_closes_the_day(budget, clock):
    assert await budget.latch(usage(read_day=(1000, 1003))) == MIDNIGHT
    clock.advance(minutes=15)
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(read=True)
    assert spent.value.until == MIDNIGHT


async def test_a_429_without_headers_closes_the_short_windows(budget, clock):
    assert await budget.latch(None) == QUARTER
    for read in (True, False):
        with pytest.raises(QuotaSpent) as spent:
            await budget.reserve(read=read)
        assert spent.value.until == QUARTER
    clock.advance(minutes=15)
    await budget.reserve(read=True)
    assert not any(window.latched for window in await budget.windows())


async def test_a_latch_holds_even_if_our_own_count_has_room_and_calls_are_given_back(budget):
    await budget.latch(None)
    await budget.release(read=True)
    with pytest.raises(QuotaSpent):
        await budget.reserve(read=True)


async def rush(*budgets, times=20):
    """How many of `times` concurrent reservations each budget gets."""
    calls = [budgets[n % len(budgets)].reserve(read=True) for n in range(times)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {bool, QuotaSpent}
    return sum(answer is False for answer in answers)


async def test_a_rush_of_calls_never_overspends_and_leaves_nothing_over(budget):
    await budget.observe(usage(read_15min=(13, 0)))
    assert await rush(budget) == 13
    assert (await used(budget))["read_15min"] == 13


async def test_two_processes_never_overspend_together(postgres_database, second_postgres, clock):
    budgets = BudgetTable(postgres_database, clock), BudgetTable(second_postgres, clock)
    await budgets[0].observe(usage(read_15min=(13, 0)))
    assert await rush(*budgets, times=30) == 13


async def test_two_processes_may_begin_the_budget_at_once(postgres_database, second_postgres, clock):
    budgets = BudgetTable(postgres_database, clock), BudgetTable(second_postgres, clock)
    assert await rush(*budgets) == 20
    assert await used(budgets[0]) == dict.fromkeys(WINDOWS, 20)
