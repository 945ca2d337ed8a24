"""The rate limit: shared by all, never overspent, and open again the moment Strava's windows turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from store_makers import call, spec, usage

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.domain.quota import reserve
from feedzone.domain.quota.windows import DEFAULT_LIMITS, WINDOWS, Reading, Reservation, limits_of
from feedzone.errors import QuotaSpent
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.quota.windows import begin

QUARTER = datetime(2026, 11, 3, 12, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 4, tzinfo=UTC)


@pytest.fixture
def budget(database, clock) -> BudgetTable:
    return BudgetTable(database, StravaClock(clock))


async def used(budget):
    return {window.name: window.used for window in await budget.windows()}


async def spend(budget, times, lane=Lane.LIVE):
    for _ in range(times):
        await call(budget, lane)


async def heard(budget, readings):
    """What an answer's headers say."""
    await budget.answered(Reservation(), readings)


async def test_limits_begin_as_they_are_set_and_what_strava_said_stays(store, budget):
    now = store.clock.now()
    await store.write(lambda c: begin(c, limits_of((400, 4000), (200, 2000)), now))
    assert {window.name: window.quota for window in await budget.windows()} == dict(
        zip(WINDOWS, (400, 4000, 200, 2000), strict=True)
    )
    await heard(budget, {"read_15min": Reading(limit=150, used=1)})
    await store.write(lambda c: begin(c, DEFAULT_LIMITS, now))
    quotas = {window.name: window.quota for window in await budget.windows()}
    assert (quotas["read_15min"], quotas["overall_15min"]) == (150, 400)


async def test_before_the_first_call_the_limits_are_a_new_applications(budget):
    assert {window.name: window.quota for window in await budget.windows()} == DEFAULT_LIMITS
    assert await used(budget) == dict.fromkeys(WINDOWS, 0)


async def test_a_read_counts_in_all_four_windows(budget):
    await spend(budget, 3)
    assert await used(budget) == dict.fromkeys(WINDOWS, 3)


async def test_a_call_that_was_never_sent_is_given_back(budget):
    await spend(budget, 2)
    await budget.release(Reservation())
    assert await used(budget) == dict.fromkeys(WINDOWS, 1)


async def test_giving_back_more_than_was_taken_makes_no_credit(budget):
    await budget.release(Reservation())
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
    await heard(budget, usage(**{window: (2, 1)}))
    await budget.reserve(Lane.LIVE)
    before = await used(budget)
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert (spent.value.window, spent.value.until) == (window, until)
    assert await used(budget) == before


async def test_when_several_windows_are_spent_the_one_that_opens_last_is_named(budget):
    """Else a job would wake up each quarter of the day, only to wait again."""
    await heard(budget, usage(overall_15min=(2, 2), overall_day=(9, 9), read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert spent.value.until == MIDNIGHT


async def test_the_tighter_read_limit_binds_while_the_overall_one_has_room(budget):
    """Pain 44."""
    await heard(budget, usage(overall_15min=(200, 40), read_15min=(100, 100)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert spent.value.window == "read_15min"


async def test_the_short_windows_turn_at_the_quarter_and_the_days_do_not(budget, clock):
    await spend(budget, 4)
    clock.advance(minutes=14, seconds=59)
    assert (await used(budget))["read_15min"] == 4
    clock.advance(seconds=1)
    assert await used(budget) == {"overall_15min": 0, "overall_day": 4, "read_15min": 0, "read_day": 4}
    await budget.reserve(Lane.LIVE)
    assert await used(budget) == {"overall_15min": 1, "overall_day": 5, "read_15min": 1, "read_day": 5}


async def test_the_day_turns_at_midnight_utc(budget, clock):
    await spend(budget, 4)
    clock.advance(hours=11, minutes=59, seconds=59)
    assert (await used(budget))["read_day"] == 4
    clock.advance(seconds=1)
    assert await used(budget) == dict.fromkeys(WINDOWS, 0)


async def test_a_spent_window_opens_at_the_very_instant_that_was_named(budget, clock):
    await heard(budget, usage(read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    clock.advance(seconds=(spent.value.until - clock.now()).total_seconds())
    await budget.reserve(Lane.LIVE)


async def test_of_our_count_and_stravas_the_larger_is_right(budget):
    await spend(budget, 5)
    await heard(budget, usage(read_15min=(100, 3), read_day=(1000, 77)))
    seen = await used(budget)
    assert (seen["read_15min"], seen["read_day"]) == (5, 77)


async def test_limits_follow_the_headers_up_and_down_and_stay(budget, clock):
    await heard(budget, usage(read_15min=(600, 1), overall_15min=(150, 1)))
    clock.advance(days=2)
    await budget.reserve(Lane.LIVE)
    quotas = {window.name: window.quota for window in await budget.windows()}
    assert quotas == DEFAULT_LIMITS | {"read_15min": 600, "overall_15min": 150}


async def test_headers_that_say_half_of_it_correct_half_of_it(budget):
    await spend(budget, 2)
    await heard(budget, usage(read_15min=(None, 7), read_day=(500, None)))
    await heard(budget, {})
    windows = {window.name: window for window in await budget.windows()}
    assert (windows["read_15min"].quota, windows["read_15min"].used) == (100, 7)
    assert (windows["read_day"].quota, windows["read_day"].used) == (500, 2)


async def test_a_429_closes_the_window_that_its_headers_show_as_spent_for_everyone(budget, clock, database):
    until = await budget.latch(
        Reservation(), usage(read_15min=(100, 100), read_day=(1000, 400), overall_15min=(200, 100))
    )
    assert until == QUARTER
    assert [window.name for window in await budget.windows() if window.latched] == ["read_15min"]
    with pytest.raises(QuotaSpent):
        await table(database, clock).reserve(Lane.LIVE)


async def test_a_429_that_shows_the_day_as_spent_closes_the_day(budget, clock):
    assert await budget.latch(Reservation(), usage(read_day=(1000, 1003))) == MIDNIGHT
    clock.advance(minutes=15)
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert spent.value.until == MIDNIGHT


async def test_a_429_without_headers_closes_the_short_windows(budget, clock):
    assert await budget.latch(Reservation(), {}) == QUARTER
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert spent.value.until == QUARTER
    clock.advance(minutes=15)
    await budget.reserve(Lane.LIVE)
    assert not any(window.latched for window in await budget.windows())


async def test_a_latch_holds_even_if_our_own_count_has_room_and_calls_are_given_back(budget):
    await budget.latch(Reservation(), {})
    await budget.release(Reservation())
    with pytest.raises(QuotaSpent):
        await budget.reserve(Lane.LIVE)


async def rush(*budgets, times=20):
    """How many of `times` concurrent calls each budget gets leave for."""
    calls = [call(budgets[n % len(budgets)]) for n in range(times)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {Reservation, QuotaSpent}
    return sum(isinstance(answer, Reservation) for answer in answers)


def table(database, clock):
    return BudgetTable(database, StravaClock(clock))


async def test_a_rush_of_calls_never_overspends_and_leaves_nothing_over(budget):
    await heard(budget, usage(read_15min=(13, 0)))
    assert await rush(budget) == 13
    assert (await used(budget))["read_15min"] == 13


async def test_two_processes_never_overspend_together(postgres_database, second_postgres, clock):
    budgets = table(postgres_database, clock), table(second_postgres, clock)
    await heard(budgets[0], usage(read_15min=(13, 0)))
    assert await rush(*budgets, times=30) == 13


async def test_two_processes_may_begin_the_budget_at_once(postgres_database, second_postgres, clock):
    budgets = table(postgres_database, clock), table(second_postgres, clock)
    assert await rush(*budgets) == 20
    assert await used(budgets[0]) == dict.fromkeys(WINDOWS, 20)


# Answers that a window's end has overtaken


@pytest.mark.parametrize("at", [MIDNIGHT - timedelta(seconds=1), QUARTER - timedelta(seconds=1)])
async def test_what_an_answer_says_of_a_window_that_has_ended_does_not_close_the_next(budget, clock, at):
    """Sent in a day's last instant, received in the next day's first: else that day would be lost."""
    leave = await budget.reserve(Lane.LIVE)
    clock.advance(seconds=(at - clock.now()).total_seconds() + 1.5)
    await budget.answered(leave, usage(read_15min=(100, 100), read_day=(1000, 1000)), at)
    full = {window.name for window in await budget.windows() if window.full}
    assert full == (set() if at.hour == 23 else {"read_day"})


async def test_a_refusal_in_a_window_that_has_ended_closes_nothing(budget, clock):
    leave = await budget.reserve(Lane.LIVE)
    clock.advance(seconds=(QUARTER - clock.now()).total_seconds() + 0.5)
    until = await budget.latch(leave, {}, QUARTER - timedelta(seconds=1))
    assert until == clock.now()
    await budget.reserve(Lane.LIVE)


# Lanes


async def test_what_strava_counts_and_we_did_not_make_is_told_once(budget):
    leave = await budget.reserve(Lane.LIVE)
    assert await budget.answered(leave, usage(read_15min=(100, 40), read_day=(1000, 140))) == 139
    leave = await budget.reserve(Lane.LIVE)
    assert await budget.answered(leave, usage(read_15min=(100, 41), read_day=(1000, 141))) == 0
    day = next(window for window in await budget.windows() if window.name == "read_day")
    assert (day.used, day.others) == (141, 139)


async def spend_all(budget, lane):
    """Call until the lane has no room; how many calls that were, and until when it has to wait."""
    for number in range(1001):
        try:
            await call(budget, lane)
        except QuotaSpent as spent:
            return number, spent.until
    raise AssertionError


async def test_backfill_leaves_room_for_live_work_until_shortly_before_the_windows_end(budget, clock):
    """Pain 45."""
    calls, until = await spend_all(budget, Lane.BACKFILL)
    assert 80 <= calls < 98
    assert clock.now() < until < QUARTER
    assert (await spend_all(budget, Lane.LIVE))[0] == 100 - calls


async def test_what_live_work_does_not_need_is_released_to_the_last_call(budget, clock):
    calls = 0
    while clock.now() < QUARTER:
        more, until = await spend_all(budget, Lane.BACKFILL)
        calls += more
        clock.advance(seconds=(until - clock.now()).total_seconds())
    assert calls == 100
    assert clock.now() == QUARTER


async def test_over_a_day_backfill_spends_what_nobody_else_asks_for(budget, clock):
    """Never idle below the limit: half a day, 1,000 reads, and not one left over."""
    calls = 0
    while clock.now() < MIDNIGHT:
        more, until = await spend_all(budget, Lane.BACKFILL)
        calls += more
        clock.advance(seconds=(until - clock.now()).total_seconds())
    assert calls == 1000


async def test_a_history_that_takes_days_spends_a_day_bit_by_bit_and_to_the_last_call(store, budget, clock):
    """Pain 47, decision 11. So its end moves by an hour for a few calls more, and not by a night."""
    await store.enqueue(spec(lane=Lane.BACKFILL))
    clock.advance(seconds=(MIDNIGHT - clock.now()).total_seconds())
    halves = [0] * 48
    while (now := clock.now()) < MIDNIGHT + timedelta(days=1):
        more, until = await spend_all(budget, Lane.BACKFILL)
        halves[(now - MIDNIGHT) // timedelta(minutes=30)] += more
        clock.advance(seconds=(until - now).total_seconds())
    assert sum(halves) == 1000
    # Before the last hours, in which comes what was kept in vain.
    assert 10 <= min(halves[:44]) <= max(halves[:44]) <= 30


async def test_calls_for_histories_are_counted_apart_and_given_back_apart(budget):
    """What is still kept of a day for live work hangs on what it has cost so far."""
    for lane in (Lane.LIVE, Lane.BACKFILL, Lane.BACKFILL, Lane.LIVE):
        given = await call(budget, lane)
    assert {(window.used, window.backfill_calls) for window in await budget.windows()} == {(4, 2)}
    await budget.release(given)
    given = await call(budget, Lane.BACKFILL)
    await budget.release(given)
    assert {(window.used, window.backfill_calls) for window in await budget.windows()} == {(3, 2)}


async def test_what_live_work_has_cost_is_no_longer_kept_and_what_histories_have_cost_still_is(budget, clock):
    async def kept_of_day():
        learned, now = await budget.demand(), clock.now()
        demand = replace(learned, at_midnight=replace(learned.at_midnight, hours=240.0))
        day = (await budget.windows())[3]
        return day.quota - day.used - reserve.calls_left([day], demand, Lane.BACKFILL, now)

    before = await kept_of_day()
    await spend(budget, 5, Lane.BACKFILL)
    assert await kept_of_day() == before
    await spend(budget, 5)
    assert await kept_of_day() == before - 5


async def test_each_lane_leaves_at_least_what_the_better_ones_leave(budget):
    await spend(budget, 60)
    demand = await budget.demand()
    limits = await budget._database.read(lambda c: budget.lane_limits(c, demand, Lane, 1000))
    left = [limits.by_lane[lane].calls for lane in Lane]
    assert left == sorted(left, reverse=True)
    assert left[0] == 40 > left[-1] > 0


# Strava's clock


@pytest.mark.parametrize("skew", [-400, -3, 3, 400])
async def test_windows_turn_by_stravas_clock_and_waits_are_told_by_ours(database, clock, skew):
    strava = StravaClock(clock)
    said = (clock.now() + timedelta(seconds=skew)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    strava.observe(said, clock.now(), clock.now())
    budget = BudgetTable(database, strava)
    await heard(budget, usage(read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    true = QUARTER - timedelta(minutes=15 if skew < 0 else 0) - timedelta(seconds=skew)
    assert abs((spent.value.until - true).total_seconds()) <= 1
