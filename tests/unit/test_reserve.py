"""The reserve: learned from the calls of each hour, left for higher lanes, released in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from demands import MIDNIGHT, NOON, counted, hourly
from hypothesis import given, settings
from hypothesis import strategies as st

from feedzone.domain.job import Lane
from feedzone.domain.quota.demand import OTHERS, QUARTERS, Demand, learn
from feedzone.domain.quota.reserve import (
    MAX_RESERVE_SHARE,
    RELEASES,
    allowance,
    backfill_holdback,
    calls_left,
    min_calls_left,
)
from feedzone.domain.quota.windows import WINDOWS, Window, window_end, window_start

QUOTAS = {"overall_15min": 200, "overall_day": 2000, "read_15min": 100, "read_day": 1000}


def windows(now: datetime = NOON, *, used: int = 0, today: int | None = None) -> list[Window]:
    """Return the windows of a new application. `used`: calls in each; `today`: calls in the day windows."""
    counts = {name: (used if today is None else today) if name.endswith("_day") else used for name in WINDOWS}
    return [
        Window(name, window_start(name, now), window_end(name, now), QUOTAS[name], counts[name])
        for name in WINDOWS
    ]


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def day_window(now: datetime = NOON, used: int = 0, backfill_calls: int = 0) -> Window:
    window = next(window for window in windows(now, used=used) if window.name == "read_day")
    return msgspec.structs.replace(window, backfill_calls=backfill_calls)


def quarter_window(now: datetime = NOON) -> Window:
    return next(window for window in windows(now) if window.name == "read_15min")


# The reserve


def reserved(demand: Demand, lane: Lane, window: Window, now: datetime) -> int:
    """Return the calls left in a window that this lane may not make."""
    return window.quota - window.used - calls_left([window], demand, lane, now)


FOR_CLICKS = 4
"""The smallest reserve of a quarter for interactive work."""


def test_live_work_may_use_everything():
    assert reserved(hourly(live=40, interactive=40), Lane.LIVE, quarter_window(), NOON) == 0


def test_the_reserve_for_live_work_is_more_than_its_expected_calls():
    """Ten are expected in this quarter: three deviations above that are covered."""
    assert reserved(hourly(live=40), Lane.RECONCILE, quarter_window(), NOON) == 20 + FOR_CLICKS


def test_a_click_finds_calls_beside_the_reserve_for_uploads():
    """Interactive work leaves only the calls that uploads may need (docs/decisions/0011-lanes.md)."""
    for_both = reserved(hourly(live=40), Lane.BACKFILL, quarter_window(), NOON)
    assert for_both - reserved(hourly(live=40), Lane.INTERACTIVE, quarter_window(), NOON) == FOR_CLICKS


def test_without_expected_calls_the_reserve_is_still_enough_for_one_activity():
    assert reserved(hourly(), Lane.BACKFILL, quarter_window(), NOON) == 2 + FOR_CLICKS


def test_the_reserve_shrinks_with_the_time_left_in_the_quarter():
    left = [
        reserved(hourly(live=40), Lane.BACKFILL, quarter_window(), at(m))
        for m in (0, 7, 7.5, 11.25, 14.2, 14.25)
    ]
    assert left == [20 + FOR_CLICKS, 20 + FOR_CLICKS, 12 + FOR_CLICKS, 8 + FOR_CLICKS, 8 + FOR_CLICKS, 0]


def test_the_days_reserve_is_for_the_live_work_until_midnight():
    """Twelve hours of five calls, and two standard deviations."""
    assert reserved(hourly(live=5), Lane.RECONCILE, day_window(), NOON) == 60 + 16
    assert reserved(hourly(live=5), Lane.RECONCILE, day_window(), at(11 * 60)) == 5 + 5


def test_the_days_reserve_includes_the_other_higher_lanes():
    demand = hourly(live=5, reconcile=2, recheck=3, backfill=100)
    reserves = [reserved(demand, lane, day_window(used=200), NOON) for lane in Lane]
    assert reserves == [0, 76, 76, 76 + 24, 76 + 24 + 36]


def test_a_quarter_has_no_reserve_for_lanes_that_can_wait_for_the_next():
    assert reserved(hourly(reconcile=40, recheck=40), Lane.BACKFILL, quarter_window(), NOON) == 2 + FOR_CLICKS


def test_the_reserve_includes_the_calls_of_other_programs():
    demand = hourly(**{OTHERS: 20})
    assert reserved(demand, Lane.BACKFILL, quarter_window(), NOON) == 5 + 2 + FOR_CLICKS
    assert reserved(demand, Lane.BACKFILL, day_window(used=240), NOON) == 240 + 2 + FOR_CLICKS


def test_a_quarter_of_each_window_is_never_reserved():
    assert reserved(hourly(live=1000), Lane.BACKFILL, quarter_window(), NOON) == 100 * MAX_RESERVE_SHARE


# The calls that a lane may make


def test_the_tightest_window_limits_the_calls():
    now = NOON
    assert allowance(windows(now, used=40), hourly(), Lane.LIVE, now).calls == 60
    assert allowance(windows(now, used=40, today=990), hourly(), Lane.LIVE, now).calls == 10


def test_a_spent_quarter_opens_with_the_next_one():
    allowed = allowance(windows(used=100), hourly(), Lane.LIVE, NOON)
    assert (allowed.calls, allowed.window, allowed.until) == (0, "read_15min", at(15))


def test_a_spent_day_opens_at_midnight():
    allowed = allowance(windows(used=0, today=1000), hourly(), Lane.BACKFILL, NOON)
    assert (allowed.calls, allowed.window, allowed.until) == (0, "read_day", MIDNIGHT + timedelta(days=1))


def test_a_latched_window_opens_when_it_ends():
    closed = [msgspec.structs.replace(window, latched=not window.is_day) for window in windows()]
    allowed = allowance(closed, hourly(), Lane.LIVE, NOON)
    assert (allowed.calls, allowed.until) == (0, at(15))


def test_a_quarters_reserve_shrinks_within_the_quarter():
    allowed = allowance(windows(used=81, today=81), hourly(live=40), Lane.BACKFILL, NOON)
    assert (allowed.calls, allowed.until) == (0, at(7.5))


def test_for_reconciliation_the_days_reserve_shrinks_quarter_by_quarter():
    """Of 200 calls, 200 may be needed until midnight; in the next quarter a few less."""
    allowed = allowance(windows(used=0, today=1000 - 194), hourly(live=14), Lane.RECONCILE, NOON)
    assert allowed.calls == 0
    assert NOON < allowed.until <= at(15)


def test_the_unspent_holdback_becomes_free_for_backfills_in_the_last_hours():
    """Otherwise it would become free bit by bit all day, and nobody could forecast the end of a backfill."""
    demand = hourly(live=14)
    days = [window.after(632, for_backfill=True) for window in windows(today=168) if window.is_day]
    allowed = allowance(days, demand, Lane.BACKFILL, NOON)
    assert allowed.calls == 0
    assert MIDNIGHT + timedelta(hours=22) < allowed.until < MIDNIGHT + timedelta(hours=23, minutes=45)
    window = day_window(used=168)
    reserves = [reserved(demand, Lane.BACKFILL, window, MIDNIGHT + timedelta(hours=h)) for h in range(12, 24)]
    assert reserves == sorted(reserves, reverse=True)
    assert len(set(reserves[:11])) == 1
    at_last = reserved(demand, Lane.BACKFILL, window, MIDNIGHT + timedelta(hours=23, minutes=45))
    assert at_last == reserved(demand, Lane.RECONCILE, window, MIDNIGHT + timedelta(hours=23, minutes=45))


@pytest.mark.parametrize("rate", [1, 14, 25, 60])
def test_backfills_spend_the_unused_reserve_before_midnight(rate):
    """A quarter allows a hundred calls: a reserve kept until the last quarter would be lost."""
    now, tomorrow, today, at_begin = MIDNIGHT, MIDNIGHT + timedelta(days=1), 0, dict[datetime, int]()
    while now < tomorrow:
        used = today - at_begin.setdefault(window_start("read_15min", now), today)
        only_backfills = [
            msgspec.structs.replace(window, backfill_calls=window.used)
            for window in windows(now, used=used, today=today)
        ]
        allowed = allowance(only_backfills, hourly(live=rate), Lane.BACKFILL, now)
        today += allowed.calls
        now = allowed.until
    assert today == 1000


def test_calls_spent_on_live_work_no_longer_count_as_its_reserve():
    """So a backfill gets the same number of calls a day, whenever the uploads come."""
    demand = hourly(live=14)
    quiet, early = (reserved(demand, Lane.BACKFILL, day_window(used=used), NOON) for used in (0, 250))
    assert quiet - early > 168
    # The calls that may be needed from now on:
    assert early == reserved(demand, Lane.RECONCILE, day_window(used=250), NOON)


def test_calls_of_backfills_do_not_shrink_the_reserve_for_live_work():
    demand = hourly(live=14)
    fresh, spent = day_window(), day_window(used=500, backfill_calls=500)
    assert reserved(demand, Lane.BACKFILL, fresh, NOON) == reserved(demand, Lane.BACKFILL, spent, NOON)


def test_a_day_that_costs_more_than_expected_raises_the_holdback_until_the_last_hours():
    """14 calls an hour were expected, and 500 came by noon: backfills get fewer calls all afternoon."""
    busy = msgspec.structs.replace(
        hourly(live=14), spent_by_quarter=tuple(int(500 / 48 * n) for n in range(49))
    )
    at_noon = reserved(busy, Lane.BACKFILL, day_window(used=500), NOON)
    at_nine = reserved(busy, Lane.BACKFILL, day_window(used=500), NOON + timedelta(hours=9))
    assert (
        at_noon == at_nine > reserved(busy, Lane.RECONCILE, day_window(used=500), NOON + timedelta(hours=9))
    )


def test_calls_learned_during_a_day_do_not_change_the_holdback_of_midnight():
    rows = counted(*((day, quarter, "live", 3) for day in range(1, 8) for quarter in range(QUARTERS)))
    since = MIDNIGHT - timedelta(days=7)
    morning = learn(rows, since, MIDNIGHT + timedelta(minutes=15), 1000)
    evening = learn(rows, since, MIDNIGHT + timedelta(hours=23), 1000)
    assert morning.expected(["live"], 0, QUARTERS) > evening.expected(["live"], 0, QUARTERS)
    assert backfill_holdback(morning) == backfill_holdback(evening)


def test_the_calls_of_yesterday_do_not_raise_the_holdback_of_today():
    spent = tuple(int(500 / 48 * n) for n in range(49))
    demand, tomorrow = hourly(live=14), NOON + timedelta(days=1)
    busy = msgspec.structs.replace(demand, spent_by_quarter=spent)
    assert reserved(busy, Lane.BACKFILL, day_window(tomorrow), tomorrow) == reserved(
        demand, Lane.BACKFILL, day_window(tomorrow), tomorrow
    )


def waiting_since(hours: float) -> Demand:
    """Backfills have waited for these `hours` at midnight; live work makes four calls an hour."""
    return msgspec.structs.replace(hourly(live=4), oldest_backfill_since=MIDNIGHT - timedelta(hours=hours))


def test_a_backfill_that_takes_more_than_a_day_gets_its_calls_in_half_hour_parts():
    long, all_day = waiting_since(7), reserved(hourly(live=4), Lane.BACKFILL, day_window(MIDNIGHT), MIDNIGHT)
    part = (1000 - all_day) / 48
    first = allowance([day_window(MIDNIGHT)], long, Lane.BACKFILL, MIDNIGHT)
    assert first.calls == pytest.approx(part, abs=2)
    assert first.until == MIDNIGHT + timedelta(minutes=30)
    spent = day_window(MIDNIGHT, used=100, backfill_calls=100)
    assert calls_left([spent], long, Lane.BACKFILL, NOON) == pytest.approx(25 * part - 100, abs=2)


def test_a_long_backfill_can_spend_its_unused_parts_later():
    night = allowance([day_window(MIDNIGHT)], waiting_since(7), Lane.BACKFILL, NOON)
    assert night.calls > 24 * 15


def test_a_backfill_from_the_evening_gets_no_half_hour_parts():
    assert calls_left([day_window(MIDNIGHT)], waiting_since(5), Lane.BACKFILL, MIDNIGHT) > 700


def test_only_backfills_are_rationed():
    days = [day_window(MIDNIGHT)]
    for lane in (lane for lane in Lane if lane is not Lane.BACKFILL):
        calls = calls_left(days, waiting_since(7), lane, MIDNIGHT)
        assert calls == calls_left(days, waiting_since(5), lane, MIDNIGHT)


def test_in_a_days_last_half_hour_a_long_backfill_gets_as_many_calls_as_a_short_one():
    late = MIDNIGHT + timedelta(hours=23, minutes=45)
    for now in (late, late + timedelta(minutes=14, seconds=16)):
        days = [day_window(now, used=700, backfill_calls=600)]
        assert calls_left(days, waiting_since(7), Lane.BACKFILL, now) == calls_left(
            days, waiting_since(5), Lane.BACKFILL, now
        )


@settings(deadline=None)
@given(
    st.integers(0, 100),
    st.integers(0, 1000),
    st.integers(0, 24 * 3600 - 1),
    st.floats(0, 60),
    st.floats(1, 10),
    st.booleans(),
)
def test_a_lane_never_has_more_calls_than_a_higher_one_and_its_turn_always_comes(
    used, today, second, rate, spread, long
):
    now = MIDNIGHT + timedelta(seconds=second)
    current = windows(now, used=used, today=max(used, today))
    demand = hourly(spread, live=rate, interactive=1, reconcile=1, recheck=2)
    if long:
        demand = msgspec.structs.replace(demand, oldest_backfill_since=MIDNIGHT - timedelta(hours=7))
    by_lane = {lane: allowance(current, demand, lane, now) for lane in Lane}
    for higher, lower in pairwise(Lane):
        assert by_lane[higher].calls >= by_lane[lower].calls >= 0
    assert all(now < allowed.until <= MIDNIGHT + timedelta(days=1) for allowed in by_lane.values())
    assert by_lane[Lane.LIVE].calls == max(0, min(100 - used, 1000 - max(used, today)))
    assert min_calls_left(current, demand, now) <= by_lane[Lane.BACKFILL].calls


@pytest.mark.parametrize("part", RELEASES[1:])
def test_the_reserve_shrinks_exactly_at_each_release_in_each_quarter_of_the_day(part):
    """Waiting jobs are due at this instant; computed with fractions of a day, it would come too late."""
    demand = hourly(live=40)
    for number in range(QUARTERS):
        now = MIDNIGHT + (number + part) * timedelta(minutes=15)
        before, then = (
            reserved(demand, Lane.BACKFILL, quarter_window(now), when)
            for when in (now - timedelta(microseconds=1), now)
        )
        assert then < before
        assert (then == 0) == (part == RELEASES[-1])


def test_the_last_45_seconds_of_a_day_have_no_reserve():
    now = MIDNIGHT + timedelta(hours=23, minutes=59, seconds=16)
    assert allowance(windows(now, used=90, today=990), hourly(live=40), Lane.BACKFILL, now).calls == 10


def test_the_holdback_of_a_new_installation_has_no_extra_caution():
    """Otherwise it could not spend in its first hours the calls that its first day has."""
    seen = msgspec.structs.replace(hourly(live=14), hours=8 * 24.0)
    assert backfill_holdback(seen) > backfill_holdback(hourly(live=14))
    needed = reserved(hourly(live=14), Lane.RECONCILE, day_window(), MIDNIGHT)
    assert backfill_holdback(hourly(live=14)) == pytest.approx(needed, abs=1)


def test_an_installation_that_starts_at_noon_holds_back_calls_for_the_afternoon_only():
    assert backfill_holdback(learn([], None, NOON, 1000)) < backfill_holdback(learn([], None, MIDNIGHT, 1000))
