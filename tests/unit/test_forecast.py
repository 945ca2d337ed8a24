"""A forecast walks through the windows, quarter by quarter. Higher lanes go first; the pace limits calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from feedzone.domain.quota.demand import QUARTERS, Demand
from feedzone.domain.quota.forecast import HORIZON, CallsLeft, ForecastInput, backfill_cost, done_at

EIGHT = datetime(2026, 11, 3, 8, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 4, tzinfo=UTC)
FAST = 1000.0
PLENTY = CallsLeft(1_000_000, 1_000_000, 1_000_000_000, 1_000_000_000)


def limits(
    quarter: int = 100, day: int = 1000, *, left: int | None = None, today: int | None = None
) -> CallsLeft:
    """Windows with these quotas. `left`, `today`: the calls left in the quarter and the day, if used.

    Backfills made none of the day's calls.
    """
    today = day if today is None else today
    return CallsLeft(quarter if left is None else left, quarter, today, day, day - today)


def hourly(calls: float, lane: str = "others") -> Demand:
    """Return a demand of `calls` an hour, all day."""
    sums = tuple(calls / 4 * n for n in range(QUARTERS + 1))
    return Demand({lane: sums}, spread=1.0)


def when(calls: float, left: CallsLeft, now: datetime = EIGHT, *, demand: float = 0.0, pace: float = FAST):
    (end,) = done_at(ForecastInput(now, left, hourly(demand), pace), [calls])
    return end


def near(end: datetime | None, expected: datetime, seconds: float = 2) -> bool:
    return end is not None and abs((end - expected).total_seconds()) <= seconds


def released(now: datetime = EIGHT) -> datetime:
    """Return when the calls that are reserved for live work become free, shortly before the quarter's end."""
    return now + timedelta(minutes=14, seconds=15)


def test_calls_that_fit_into_the_current_quarter_are_done_in_it():
    assert near(when(94, limits()), EIGHT)


def test_calls_reserved_for_live_work_become_free_shortly_before_the_quarters_end():
    assert near(when(95, limits()), released())
    assert near(when(100, limits()), released())


def test_one_call_too_many_waits_for_the_next_quarter():
    assert near(when(101, limits()), EIGHT + timedelta(minutes=15))


def test_quarters_follow_the_wall_clock():
    assert near(when(50, limits(left=30), EIGHT + timedelta(minutes=14)), EIGHT + timedelta(minutes=15))


def test_after_a_spent_day_calls_go_on_at_midnight_utc():
    evening = MIDNIGHT - timedelta(hours=5)
    assert near(when(1, limits(today=0), evening), MIDNIGHT)
    assert near(when(150, limits(today=100), evening), MIDNIGHT)
    assert near(when(1190, limits(), evening), MIDNIGHT + timedelta(minutes=15))


def test_a_backfill_that_waits_since_the_morning_gets_the_next_day_in_half_hour_parts():
    """994 calls are for backfills: 20.7 each half hour."""
    assert near(when(1000 + 20, limits()), MIDNIGHT)
    assert near(when(1000 + 22, limits()), MIDNIGHT + timedelta(minutes=30))
    assert near(when(1000 + 496, limits()), MIDNIGHT + timedelta(hours=11, minutes=30))
    since = msgspec.structs.replace(hourly(0), oldest_backfill_since=EIGHT)
    night = MIDNIGHT + timedelta(hours=1, minutes=1)
    left = CallsLeft(100, 100, 1000 - 62, 1000)
    assert near(done_at(ForecastInput(night, left, since, FAST), [2])[0], MIDNIGHT + timedelta(minutes=90))
    assert near(done_at(ForecastInput(night, left, hourly(0), FAST), [2])[0], night)


def test_a_forecast_can_span_many_days():
    """A day has 1000 calls: 6 are reserved for higher lanes all day, and become free in its last minute."""
    assert near(when(2990, limits()), datetime(2026, 11, 5, 23, 30, tzinfo=UTC))
    assert near(when(3000, limits()), released(datetime(2026, 11, 5, 23, 45, tzinfo=UTC)))


def test_higher_lanes_call_first_in_each_quarter():
    """40 an hour are 10 a quarter: 90 are left."""
    assert near(when(84, limits(), demand=40), EIGHT)
    assert near(when(90, limits(), demand=40), released())
    assert near(when(91, limits(), demand=40), EIGHT + timedelta(minutes=15))


def test_backfills_leave_the_calls_that_higher_lanes_need_later_in_the_day():
    """160 came until eight, and 320 more will come today."""
    assert when(510, limits(today=840), demand=20) < MIDNIGHT - timedelta(hours=12)
    assert when(530, limits(today=840), demand=20) >= MIDNIGHT - timedelta(minutes=1)


def test_the_unspent_holdback_becomes_free_in_the_days_last_hour():
    assert MIDNIGHT - timedelta(hours=1) <= when(670, limits(), demand=20) < MIDNIGHT


def test_each_quarter_has_its_own_demand():
    sums = tuple(400.0 if n > 8 * 4 else 0.0 for n in range(QUARTERS + 1))
    (end,) = done_at(ForecastInput(EIGHT, limits(), Demand({"others": sums}), FAST), [1])
    assert end >= EIGHT + timedelta(minutes=45)


def test_calls_that_a_spent_day_delayed_go_first_in_the_next_day():
    """Sixteen hours of 10 calls wait at midnight: they fill the first quarter, and part of the second."""
    end = when(1, limits(today=0), demand=10)
    assert near(end, MIDNIGHT + timedelta(minutes=15))


def test_with_plenty_of_quota_the_pace_of_calls_is_the_limit():
    assert near(when(36_000, PLENTY, pace=10), EIGHT + timedelta(hours=1))


def test_calls_of_others_slow_the_pace():
    assert near(when(18_000, PLENTY, pace=10, demand=18_000), EIGHT + timedelta(hours=1))


def test_nothing_to_do_is_done_now():
    assert when(0, limits()) == EIGHT


@pytest.mark.parametrize("left", [limits(quarter=0), limits(day=0), limits(quarter=0, day=0)])
def test_without_any_quota_there_is_no_end(left):
    assert when(1, left) is None
    assert when(0, left) == EIGHT


def test_when_others_take_everything_there_is_no_end():
    assert when(1, limits(), demand=500) is None


def test_a_forecast_beyond_the_horizon_has_no_date():
    assert when(1000 * 2 * HORIZON.days, limits()) is None


def test_a_forecast_of_several_numbers_gives_each_the_same_end_as_alone():
    needs = [500, 0, 101, 3000, 7]
    forecast = ForecastInput(EIGHT, limits(), hourly(8.0, "live"), FAST)
    assert done_at(forecast, needs) == [done_at(forecast, [need])[0] for need in needs]


@pytest.mark.parametrize(("activities", "calls"), [(0, 1), (1, 4), (200, 402), (201, 405), (800, 1605)])
def test_a_backfill_costs_its_pages_and_two_calls_an_activity(activities, calls):
    assert backfill_cost(activities) == calls
