"""A forecast walks window by window: quarters, days, those who go first, and no faster than calls can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from feedzone.domain.quota.demand import QUARTERS, Demand
from feedzone.domain.quota.forecast import HORIZON, ForecastInput, Rooms, done_at, sync_calls

EIGHT = datetime(2026, 11, 3, 8, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 4, tzinfo=UTC)
FAST = 1000.0
PLENTY = Rooms(1_000_000, 1_000_000, 1_000_000_000, 1_000_000_000)


def rooms(quarter: int = 100, day: int = 1000, *, left: int | None = None, today: int | None = None) -> Rooms:
    """Fresh windows, but for what is left of the running ones; histories had nothing of the day."""
    today = day if today is None else today
    return Rooms(quarter if left is None else left, quarter, today, day, day - today)


def hourly(calls: float, lane: str = "others") -> Demand:
    """So many calls an hour, all day."""
    sums = tuple(calls / 4 * n for n in range(QUARTERS + 1))
    return Demand({lane: sums}, spread=1.0)


def when(calls: float, held: Rooms, now: datetime = EIGHT, *, demand: float = 0.0, pace: float = FAST):
    (found,) = done_at(ForecastInput(now, held, hourly(demand), pace), [calls])
    return found


def near(found: datetime | None, expected: datetime, seconds: float = 2) -> bool:
    return found is not None and abs((found - expected).total_seconds()) <= seconds


def released(now: datetime = EIGHT) -> datetime:
    """When the calls that are kept for live work are released, shortly before the quarter's end."""
    return now + timedelta(minutes=14, seconds=15)


def test_what_fits_into_the_running_quarter_is_done_in_it():
    assert near(when(94, rooms()), EIGHT)


def test_the_calls_that_are_kept_for_live_work_are_made_shortly_before_the_quarters_end():
    assert near(when(95, rooms()), released())
    assert near(when(100, rooms()), released())


def test_one_call_more_waits_for_the_next_quarter():
    assert near(when(101, rooms()), EIGHT + timedelta(minutes=15))


def test_quarters_are_the_wall_clocks_and_not_a_quarter_from_now():
    assert near(when(50, rooms(left=30), EIGHT + timedelta(minutes=14)), EIGHT + timedelta(minutes=15))


def test_a_spent_day_goes_on_at_midnight_utc():
    evening = MIDNIGHT - timedelta(hours=5)
    assert near(when(1, rooms(today=0), evening), MIDNIGHT)
    assert near(when(150, rooms(today=100), evening), MIDNIGHT)
    assert near(when(1190, rooms(), evening), MIDNIGHT + timedelta(minutes=15))


def test_what_has_waited_since_the_afternoon_gets_the_next_day_by_the_half_hour():
    """994 calls are for histories: 20.7 each half hour."""
    assert near(when(1000 + 20, rooms()), MIDNIGHT)
    assert near(when(1000 + 22, rooms()), MIDNIGHT + timedelta(minutes=30))
    assert near(when(1000 + 496, rooms()), MIDNIGHT + timedelta(hours=11, minutes=30))
    since = msgspec.structs.replace(hourly(0), histories_since=EIGHT)
    night = MIDNIGHT + timedelta(hours=1, minutes=1)
    left = Rooms(100, 100, 1000 - 62, 1000)
    assert near(done_at(ForecastInput(night, left, since, FAST), [2])[0], MIDNIGHT + timedelta(minutes=90))
    assert near(done_at(ForecastInput(night, left, hourly(0), FAST), [2])[0], night)


def test_many_days_are_walked_one_by_one():
    """1000 a day: 6 are kept all day for who cannot wait, and released in its last minute."""
    assert near(when(2990, rooms()), datetime(2026, 11, 5, 23, 30, tzinfo=UTC))
    assert near(when(3000, rooms()), released(datetime(2026, 11, 5, 23, 45, tzinfo=UTC)))


def test_those_who_go_first_take_their_share_of_each_quarter():
    """40 an hour are 10 a quarter: 90 are left."""
    assert near(when(84, rooms(), demand=40), EIGHT)
    assert near(when(90, rooms(), demand=40), released())
    assert near(when(91, rooms(), demand=40), EIGHT + timedelta(minutes=15))


def test_what_will_be_asked_for_first_later_in_the_day_is_left_for_it():
    """160 came until eight, and 320 more will come today."""
    assert when(510, rooms(today=840), demand=20) < MIDNIGHT - timedelta(hours=12)
    assert when(530, rooms(today=840), demand=20) >= MIDNIGHT - timedelta(minutes=1)


def test_what_was_set_aside_and_did_not_come_is_left_in_the_days_last_hour():
    assert MIDNIGHT - timedelta(hours=1) <= when(670, rooms(), demand=20) < MIDNIGHT


def test_the_demand_of_each_quarter_is_its_own():
    sums = tuple(400.0 if n > 8 * 4 else 0.0 for n in range(QUARTERS + 1))
    (found,) = done_at(ForecastInput(EIGHT, rooms(), Demand({"others": sums}), FAST), [1])
    assert found >= EIGHT + timedelta(minutes=45)


def test_what_others_could_not_ask_for_in_a_spent_day_they_ask_for_first_in_the_next():
    """Sixteen hours of 10 calls wait at midnight: they fill the first quarter, and part of the second."""
    found = when(1, rooms(today=0), demand=10)
    assert near(found, MIDNIGHT + timedelta(minutes=15))


def test_with_plenty_of_quota_the_pace_of_calls_is_the_limit():
    assert near(when(36_000, PLENTY, pace=10), EIGHT + timedelta(hours=1))


def test_others_slow_the_pace_too():
    assert near(when(18_000, PLENTY, pace=10, demand=18_000), EIGHT + timedelta(hours=1))


def test_nothing_to_do_is_done_now():
    assert when(0, rooms()) == EIGHT


@pytest.mark.parametrize("held", [rooms(quarter=0), rooms(day=0), rooms(quarter=0, day=0)])
def test_without_any_quota_there_is_no_end(held):
    assert when(1, held) is None
    assert when(0, held) == EIGHT


def test_when_others_take_everything_there_is_no_end():
    assert when(1, rooms(), demand=500) is None


def test_what_would_take_longer_than_a_year_has_no_date():
    assert when(1000 * 2 * HORIZON.days, rooms()) is None


def test_several_questions_are_answered_in_one_walk_as_if_asked_alone():
    needs = [500, 0, 101, 3000, 7]
    outlook = ForecastInput(EIGHT, rooms(), hourly(8.0, "live"), FAST)
    assert done_at(outlook, needs) == [done_at(outlook, [need])[0] for need in needs]


@pytest.mark.parametrize(("activities", "calls"), [(0, 1), (1, 4), (200, 402), (201, 405), (800, 1605)])
def test_a_first_sync_costs_its_pages_and_two_calls_an_activity(activities, calls):
    assert sync_calls(activities) == calls
