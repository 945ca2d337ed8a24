"""All processes share the rate limit, never overspend it, and call again in each new window."""

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


async def observe_headers(budget, readings):
    """Store the rate limit headers of an answer."""
    await budget.answered(Reservation(), readings)


async def test_limits_begin_as_configured_and_limits_of_strava_stay(store, budget):
    now = store.clock.now()
    await store.write(lambda c: begin(c, limits_of((400, 4000), (200, 2000)), now))
    assert {window.name: window.quota for window in await budget.windows()} == dict(
        zip(WINDOWS, (400, 4000, 200, 2000), strict=True)
    )
    await observe_headers(budget, {"read_15min": Reading(limit=150, used=1)})
    await store.write(lambda c: begin(c, DEFAULT_LIMITS, now))
    quotas = {window.name: window.quota for window in await budget.windows()}
    assert (quotas["read_15min"], quotas["overall_15min"]) == (150, 400)


async def test_before_the_first_call_the_limits_are_those_of_a_new_application(budget):
    assert {window.name: window.quota for window in await budget.windows()} == DEFAULT_LIMITS
    assert await used(budget) == dict.fromkeys(WINDOWS, 0)


async def test_a_read_counts_in_all_four_windows(budget):
    await spend(budget, 3)
    assert await used(budget) == dict.fromkeys(WINDOWS, 3)


async def test_a_call_that_was_never_sent_is_released(budget):
    await spend(budget, 1)
    await budget.release(await call(budget))
    assert await used(budget) == dict.fromkeys(WINDOWS, 1)


@pytest.mark.parametrize(
    ("reserved", "minutes"),
    [
        (datetime(2026, 11, 3, 12, 14, tzinfo=UTC), 2),
        (datetime(2026, 11, 3, 12, 14, tzinfo=UTC), 16),
        (datetime(2026, 11, 3, 23, 59, tzinfo=UTC), 2),
        (datetime(2026, 11, 4, 0, 14, tzinfo=UTC), 2),
        (datetime(2026, 11, 4, 0, 0, tzinfo=UTC), 14),
    ],
    ids=["a quarter", "two quarters", "midnight", "the first quarter of the day", "within the quarter"],
)
async def test_a_call_given_back_comes_off_the_windows_that_counted_it(budget, clock, reserved, minutes):
    """Even if they have ended: the next quarter must not make one call too many."""
    clock.advance(seconds=(reserved - clock.now()).total_seconds())
    late = await call(budget)
    clock.advance(minutes=minutes)
    await spend(budget, 3)
    counted = await used(budget)
    await budget.release(late)
    left = {name: count - counted[name] for name, count in (await used(budget)).items()}
    same_quarter = minutes < 15 - reserved.minute % 15
    same_day = reserved.day == clock.now().day
    assert left == {name: -int(same_day if name.endswith("_day") else same_quarter) for name in WINDOWS}


async def test_a_call_of_a_backfill_given_back_after_the_quarter_stays_counted_for_the_next(budget, clock):
    clock.advance(minutes=14)
    late = await call(budget, Lane.BACKFILL)
    clock.advance(minutes=2)
    await spend(budget, 2, Lane.BACKFILL)
    await budget.release(late)
    windows = {window.name: window.backfill_calls for window in await budget.windows()}
    assert windows == {"overall_15min": 2, "overall_day": 2, "read_15min": 2, "read_day": 2}


async def test_releasing_more_calls_than_were_reserved_makes_no_credit(budget):
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
    await observe_headers(budget, usage(**{window: (2, 1)}))
    await budget.reserve(Lane.LIVE)
    before = await used(budget)
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert (spent.value.window, spent.value.until) == (window, until)
    assert await used(budget) == before


async def test_when_several_windows_are_spent_the_one_that_opens_last_is_named(budget):
    """Otherwise a job would wake up each quarter of an hour, only to wait again."""
    await observe_headers(budget, usage(overall_15min=(2, 2), overall_day=(9, 9), read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    assert spent.value.until == MIDNIGHT


async def test_the_tighter_read_limit_counts_while_the_overall_one_has_calls_left(budget):
    await observe_headers(budget, usage(overall_15min=(200, 40), read_15min=(100, 100)))
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


async def test_a_spent_window_opens_at_exactly_the_named_instant(budget, clock):
    await observe_headers(budget, usage(read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    clock.advance(seconds=(spent.value.until - clock.now()).total_seconds())
    await budget.reserve(Lane.LIVE)


async def test_of_our_count_and_stravas_the_larger_is_right(budget):
    await spend(budget, 5)
    await observe_headers(budget, usage(read_15min=(100, 3), read_day=(1000, 77)))
    seen = await used(budget)
    assert (seen["read_15min"], seen["read_day"]) == (5, 77)


async def test_limits_follow_the_headers_up_and_down_and_stay(budget, clock):
    await observe_headers(budget, usage(read_15min=(600, 1), overall_15min=(150, 1)))
    clock.advance(days=2)
    await budget.reserve(Lane.LIVE)
    quotas = {window.name: window.quota for window in await budget.windows()}
    assert quotas == DEFAULT_LIMITS | {"read_15min": 600, "overall_15min": 150}


async def test_headers_that_say_half_of_it_correct_half_of_it(budget):
    await spend(budget, 2)
    await observe_headers(budget, usage(read_15min=(None, 7), read_day=(500, None)))
    await observe_headers(budget, {})
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


async def test_a_latch_stays_even_if_our_count_has_calls_left_and_calls_are_released(budget):
    await budget.latch(Reservation(), {})
    await budget.release(Reservation())
    with pytest.raises(QuotaSpent):
        await budget.reserve(Lane.LIVE)


async def reserve_at_once(*budgets, times=20):
    """Return how many of `times` concurrent calls are allowed."""
    calls = [call(budgets[n % len(budgets)]) for n in range(times)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {Reservation, QuotaSpent}
    return sum(isinstance(answer, Reservation) for answer in answers)


def table(database, clock):
    return BudgetTable(database, StravaClock(clock))


async def test_a_rush_of_calls_never_overspends_and_leaves_nothing_over(budget):
    await observe_headers(budget, usage(read_15min=(13, 0)))
    assert await reserve_at_once(budget) == 13
    assert (await used(budget))["read_15min"] == 13


async def test_two_processes_never_overspend_together(postgres_database, second_postgres, clock):
    budgets = table(postgres_database, clock), table(second_postgres, clock)
    await observe_headers(budgets[0], usage(read_15min=(13, 0)))
    assert await reserve_at_once(*budgets, times=30) == 13


async def test_two_processes_may_begin_the_budget_at_once(postgres_database, second_postgres, clock):
    budgets = table(postgres_database, clock), table(second_postgres, clock)
    assert await reserve_at_once(*budgets) == 20
    assert await used(budgets[0]) == dict.fromkeys(WINDOWS, 20)


# Answers that a window's end has overtaken


@pytest.mark.parametrize("at", [MIDNIGHT - timedelta(seconds=1), QUARTER - timedelta(seconds=1)])
async def test_headers_about_a_window_that_has_ended_do_not_close_the_next_one(budget, clock, at):
    """Sent in a day's last instant, received in the next day's first: otherwise that day would be lost."""
    reservation = await budget.reserve(Lane.LIVE)
    clock.advance(seconds=(at - clock.now()).total_seconds() + 1.5)
    await budget.answered(reservation, usage(read_15min=(100, 100), read_day=(1000, 1000)), at)
    full = {window.name for window in await budget.windows() if window.full}
    assert full == (set() if at.hour == 23 else {"read_day"})


async def test_a_refusal_in_a_window_that_has_ended_closes_nothing(budget, clock):
    reservation = await budget.reserve(Lane.LIVE)
    clock.advance(seconds=(QUARTER - clock.now()).total_seconds() + 0.5)
    until = await budget.latch(reservation, {}, QUARTER - timedelta(seconds=1))
    assert until == clock.now()
    await budget.reserve(Lane.LIVE)


# Lanes


async def test_calls_that_are_not_ours_are_reported_once(budget):
    reservation = await budget.reserve(Lane.LIVE)
    assert await budget.answered(reservation, usage(read_15min=(100, 40), read_day=(1000, 140))) == 139
    reservation = await budget.reserve(Lane.LIVE)
    assert await budget.answered(reservation, usage(read_15min=(100, 41), read_day=(1000, 141))) == 0
    day = next(window for window in await budget.windows() if window.name == "read_day")
    assert (day.used, day.others) == (141, 139)


async def spend_all(budget, lane):
    """Call until the lane must wait; return the number of calls, and until when it must wait."""
    for number in range(1001):
        try:
            await call(budget, lane)
        except QuotaSpent as spent:
            return number, spent.until
    raise AssertionError


async def test_backfill_leaves_calls_for_live_work_until_shortly_before_the_window_ends(budget, clock):
    calls, until = await spend_all(budget, Lane.BACKFILL)
    assert 80 <= calls < 98
    assert clock.now() < until < QUARTER
    assert (await spend_all(budget, Lane.LIVE))[0] == 100 - calls


async def test_backfill_gets_every_call_that_live_work_does_not_need(budget, clock):
    calls = 0
    while clock.now() < QUARTER:
        more, until = await spend_all(budget, Lane.BACKFILL)
        calls += more
        clock.advance(seconds=(until - clock.now()).total_seconds())
    assert calls == 100
    assert clock.now() == QUARTER


async def test_over_a_day_backfill_spends_every_call_that_no_other_lane_needs(budget, clock):
    """Half a day, 1,000 reads, and not one left over."""
    calls = 0
    while clock.now() < MIDNIGHT:
        more, until = await spend_all(budget, Lane.BACKFILL)
        calls += more
        clock.advance(seconds=(until - clock.now()).total_seconds())
    assert calls == 1000


async def test_a_backfill_that_takes_days_spends_each_day_evenly_and_to_the_last_call(store, budget, clock):
    """So a few calls more delay its end by an hour, and not by a night."""
    await store.enqueue(spec(lane=Lane.BACKFILL))
    clock.advance(seconds=(MIDNIGHT - clock.now()).total_seconds())
    halves = [0] * 48
    while (now := clock.now()) < MIDNIGHT + timedelta(days=1):
        more, until = await spend_all(budget, Lane.BACKFILL)
        halves[(now - MIDNIGHT) // timedelta(minutes=30)] += more
        clock.advance(seconds=(until - now).total_seconds())
    assert sum(halves) == 1000
    # Before the last hours, which also spend the calls that were held back in vain.
    assert 10 <= min(halves[:44]) <= max(halves[:44]) <= 30


async def test_calls_of_backfills_are_counted_and_released_separately(budget):
    """The calls held back for live work depend on the calls it has made so far."""
    for lane in (Lane.LIVE, Lane.BACKFILL, Lane.BACKFILL, Lane.LIVE):
        reservation = await call(budget, lane)
    assert {(window.used, window.backfill_calls) for window in await budget.windows()} == {(4, 2)}
    await budget.release(reservation)
    reservation = await call(budget, Lane.BACKFILL)
    await budget.release(reservation)
    assert {(window.used, window.backfill_calls) for window in await budget.windows()} == {(3, 2)}


async def test_calls_of_live_work_shrink_the_backfill_holdback_and_calls_of_backfills_do_not(budget, clock):
    async def holdback():
        learned, now = await budget.demand(), clock.now()
        demand = replace(learned, at_midnight=replace(learned.at_midnight, hours=240.0))
        day = (await budget.windows())[3]
        return day.quota - day.used - reserve.calls_left([day], demand, Lane.BACKFILL, now)

    before = await holdback()
    await spend(budget, 5, Lane.BACKFILL)
    assert await holdback() == before
    await spend(budget, 5)
    assert await holdback() == before - 5


async def test_each_lane_leaves_at_least_as_many_calls_as_higher_lanes_do(budget):
    await spend(budget, 60)
    demand = await budget.demand()
    limits = await budget._database.read(lambda c: budget.lane_limits(c, demand, Lane, 1000))
    left = [limits.by_lane[lane].calls for lane in Lane]
    assert left == sorted(left, reverse=True)
    assert left[0] == 40 > left[-1] > 0


# Strava's clock


@pytest.mark.parametrize("skew", [-400, -3, 3, 400])
async def test_windows_follow_stravas_clock_and_waits_follow_ours(database, clock, skew):
    strava = StravaClock(clock)
    date_header = (clock.now() + timedelta(seconds=skew)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    strava.observe(date_header, clock.now(), clock.now())
    budget = BudgetTable(database, strava)
    await observe_headers(budget, usage(read_15min=(1, 1)))
    with pytest.raises(QuotaSpent) as spent:
        await budget.reserve(Lane.LIVE)
    true = QUARTER - timedelta(minutes=15 if skew < 0 else 0) - timedelta(seconds=skew)
    assert abs((spent.value.until - true).total_seconds()) <= 1


async def test_an_answer_that_arrives_after_its_quarter_closes_no_later_one(budget, clock):
    sent = clock.now()
    clock.advance(minutes=15)
    await budget.answered(Reservation(), usage(read_15min=(100, 100), read_day=(1000, 300)), at=sent)
    calls = await used(budget)
    assert (calls["read_15min"], calls["read_day"]) == (0, 300)
