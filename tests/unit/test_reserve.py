"""Who may call: what is expected is learned by the hour, kept for who goes first, and released in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedzone.domain.job import Lane
from feedzone.domain.quota.demand import EPOCH, OTHERS, QUARTERS, Counted, Demand, learn
from feedzone.domain.quota.reserve import (
    MAX_RESERVE_SHARE,
    RELEASES,
    allowance,
    backfill_holdback,
    calls_left,
    min_calls_left,
)
from feedzone.domain.quota.windows import WINDOWS, Window, window_end, window_start

MIDNIGHT = datetime(2026, 11, 3, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)
QUOTAS = {"overall_15min": 200, "overall_day": 2000, "read_15min": 100, "read_day": 1000}


def windows(now: datetime = NOON, *, used: int = 0, today: int | None = None) -> list[Window]:
    """New windows of a new application, of which so much is used."""
    counts = {name: (used if today is None else today) if name.endswith("_day") else used for name in WINDOWS}
    return [
        Window(name, window_start(name, now), window_end(name, now), QUOTAS[name], counts[name])
        for name in WINDOWS
    ]


def hourly(spread: float = 1.0, **calls: float) -> Demand:
    """So many calls an hour of each lane, all day."""
    sums = {lane: tuple(rate / 4 * n for n in range(QUARTERS + 1)) for lane, rate in calls.items()}
    return Demand(sums, spread, day=(NOON - EPOCH).days)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def day_window(now: datetime = NOON, used: int = 0, history: int = 0) -> Window:
    window = next(window for window in windows(now, used=used) if window.name == "read_day")
    return msgspec.structs.replace(window, history=history)


def quarter_window(now: datetime = NOON) -> Window:
    return next(window for window in windows(now) if window.name == "read_15min")


# What is kept


def kept(demand: Demand, lane: Lane, window: Window, now: datetime) -> int:
    """What is left of a window and not for this lane."""
    return window.quota - window.used - calls_left([window], demand, lane, now)


ASKED = 4
"""Kept for who asks for something, where nobody is expected to."""


def test_live_work_may_use_everything():
    assert kept(hourly(live=40, interactive=40), Lane.LIVE, quarter_window(), NOON) == 0


def test_more_is_kept_for_live_work_than_is_expected():
    """Ten are expected in this quarter: three deviations above that are covered."""
    assert kept(hourly(live=40), Lane.RECONCILE, quarter_window(), NOON) == 20 + ASKED


def test_who_presses_a_button_finds_room_beside_what_is_kept_for_uploads():
    """Decision 11: from interactive work, as much is kept for uploads as they may need, and no more."""
    filled = kept(hourly(live=40), Lane.BACKFILL, quarter_window(), NOON)
    assert filled - kept(hourly(live=40), Lane.INTERACTIVE, quarter_window(), NOON) == ASKED


def test_at_least_an_activity_is_kept_where_nothing_is_expected():
    assert kept(hourly(), Lane.BACKFILL, quarter_window(), NOON) == 2 + ASKED


def test_what_is_kept_shrinks_with_the_time_in_which_it_could_be_needed():
    left = [
        kept(hourly(live=40), Lane.BACKFILL, quarter_window(), at(m)) for m in (0, 7, 7.5, 11.25, 14.2, 14.25)
    ]
    assert left == [20 + ASKED, 20 + ASKED, 12 + ASKED, 8 + ASKED, 8 + ASKED, 0]


def test_of_a_day_what_live_work_will_need_until_midnight_is_kept():
    """Twelve hours of five calls, and two deviations."""
    assert kept(hourly(live=5), Lane.RECONCILE, day_window(), NOON) == 60 + 16
    assert kept(hourly(live=5), Lane.RECONCILE, day_window(), at(11 * 60)) == 5 + 5


def test_of_a_day_what_patient_lanes_will_need_is_kept_from_those_behind_them():
    demand = hourly(live=5, reconcile=2, recheck=3, backfill=100)
    held = [kept(demand, lane, day_window(used=200), NOON) for lane in Lane]
    assert held == [0, 76, 76, 76 + 24, 76 + 24 + 36]


def test_of_a_quarter_nothing_is_kept_for_who_can_wait_for_the_next():
    assert kept(hourly(reconcile=40, recheck=40), Lane.BACKFILL, quarter_window(), NOON) == 2 + ASKED


def test_calls_of_others_are_expected_too():
    demand = hourly(**{OTHERS: 20})
    assert kept(demand, Lane.BACKFILL, quarter_window(), NOON) == 5 + 2 + ASKED
    assert kept(demand, Lane.BACKFILL, day_window(used=240), NOON) == 240 + 2 + ASKED


def test_whatever_was_learned_a_part_is_left_for_everybody():
    assert kept(hourly(live=1000), Lane.BACKFILL, quarter_window(), NOON) == 100 * MAX_RESERVE_SHARE


# What may be called


def test_the_tightest_window_binds():
    now = NOON
    assert allowance(windows(now, used=40), hourly(), Lane.LIVE, now).calls == 60
    assert allowance(windows(now, used=40, today=990), hourly(), Lane.LIVE, now).calls == 10


def test_a_spent_quarter_opens_with_the_next_one():
    told = allowance(windows(used=100), hourly(), Lane.LIVE, NOON)
    assert (told.calls, told.window, told.until) == (0, "read_15min", at(15))


def test_a_spent_day_opens_at_midnight():
    told = allowance(windows(used=0, today=1000), hourly(), Lane.BACKFILL, NOON)
    assert (told.calls, told.window, told.until) == (0, "read_day", MIDNIGHT + timedelta(days=1))


def test_a_closed_window_opens_when_it_ends():
    closed = [msgspec.structs.replace(window, latched=not window.is_day) for window in windows()]
    told = allowance(closed, hourly(), Lane.LIVE, NOON)
    assert (told.calls, told.until) == (0, at(15))


def test_what_is_kept_in_a_quarter_is_released_within_it():
    told = allowance(windows(used=81, today=81), hourly(live=40), Lane.BACKFILL, NOON)
    assert (told.calls, told.until) == (0, at(7.5))


def test_what_is_kept_of_a_day_from_comparisons_is_released_quarter_by_quarter():
    """Of 200 calls, 200 may be needed until midnight; in the next quarter a few less."""
    told = allowance(windows(used=0, today=1000 - 194), hourly(live=14), Lane.RECONCILE, NOON)
    assert told.calls == 0
    assert NOON < told.until <= at(15)


def test_what_a_day_turns_out_not_to_need_is_released_for_histories_in_its_last_hour():
    """Else it would come now and then all day long, and nobody could tell when a history will be done."""
    demand = hourly(live=14)
    held = [window.after(632, for_history=True) for window in windows(today=168)]
    held = [window for window in held if window.is_day]
    told = allowance(held, demand, Lane.BACKFILL, NOON)
    assert told.calls == 0
    assert MIDNIGHT + timedelta(hours=22) < told.until < MIDNIGHT + timedelta(hours=23, minutes=45)
    window = day_window(used=168)
    kept_at = [kept(demand, Lane.BACKFILL, window, MIDNIGHT + timedelta(hours=h)) for h in range(12, 24)]
    assert kept_at == sorted(kept_at, reverse=True)
    assert len(set(kept_at[:11])) == 1
    last = kept(demand, Lane.BACKFILL, window, MIDNIGHT + timedelta(hours=23, minutes=45))
    assert last == kept(demand, Lane.RECONCILE, window, MIDNIGHT + timedelta(hours=23, minutes=45))


@pytest.mark.parametrize("rate", [1, 14, 25, 60])
def test_however_much_was_kept_in_vain_it_is_spent_before_midnight(rate):
    """Of a quarter no more than a hundred can be: what is kept until the last one would be lost."""
    now, tomorrow, today, at_begin = MIDNIGHT, MIDNIGHT + timedelta(days=1), 0, dict[datetime, int]()
    while now < tomorrow:
        used = today - at_begin.setdefault(window_start("read_15min", now), today)
        held = [
            msgspec.structs.replace(window, history=window.used)
            for window in windows(now, used=used, today=today)
        ]
        told = allowance(held, hourly(live=rate), Lane.BACKFILL, now)
        today += told.calls
        now = told.until
    assert today == 1000


def test_what_was_spent_on_live_work_is_no_longer_kept_for_it():
    """So a history gets as much of a day, whenever the day's uploads come."""
    demand = hourly(live=14)
    quiet, early = (kept(demand, Lane.BACKFILL, day_window(used=used), NOON) for used in (0, 250))
    assert quiet - early > 168
    # What may be needed from now on:
    assert early == kept(demand, Lane.RECONCILE, day_window(used=250), NOON)


def test_what_histories_spend_takes_nothing_of_what_is_kept_for_live_work():
    demand = hourly(live=14)
    fresh, spent = day_window(), day_window(used=500, history=500)
    assert kept(demand, Lane.BACKFILL, fresh, NOON) == kept(demand, Lane.BACKFILL, spent, NOON)


def test_what_a_morning_costs_more_than_was_known_at_midnight_is_not_given_back_before_the_last_hour():
    """Of 14 calls an hour, 500 came by noon: as much less is left for histories all afternoon."""
    busy = msgspec.structs.replace(hourly(live=14), passed=tuple(int(500 / 48 * n) for n in range(49)))
    at_noon = kept(busy, Lane.BACKFILL, day_window(used=500), NOON)
    at_nine = kept(busy, Lane.BACKFILL, day_window(used=500), NOON + timedelta(hours=9))
    assert at_noon == at_nine > kept(busy, Lane.RECONCILE, day_window(used=500), NOON + timedelta(hours=9))


def test_what_is_learned_in_the_course_of_a_day_changes_nothing_of_what_was_set_aside_at_midnight():
    rows = counted(*((day, quarter, "live", 3) for day in range(1, 8) for quarter in range(QUARTERS)))
    since = MIDNIGHT - timedelta(days=7)
    morning = learn(rows, since, MIDNIGHT + timedelta(minutes=15), 1000)
    evening = learn(rows, since, MIDNIGHT + timedelta(hours=23), 1000)
    assert morning.expected(["live"], 0, QUARTERS) > evening.expected(["live"], 0, QUARTERS)
    assert backfill_holdback(morning) == backfill_holdback(evening)


def test_what_was_spent_yesterday_counts_no_more_today():
    passed = tuple(int(500 / 48 * n) for n in range(49))
    demand, tomorrow = hourly(live=14), NOON + timedelta(days=1)
    busy = msgspec.structs.replace(demand, passed=passed)
    assert kept(busy, Lane.BACKFILL, day_window(tomorrow), tomorrow) == kept(
        demand, Lane.BACKFILL, day_window(tomorrow), tomorrow
    )


def waiting_since(hours: float) -> Demand:
    """Histories have waited for so long at midnight, and four calls of live work come an hour."""
    return msgspec.structs.replace(hourly(live=4), histories_since=MIDNIGHT - timedelta(hours=hours))


def test_a_history_that_takes_more_than_a_day_gets_its_part_of_the_day_by_the_half_hour():
    long, whole = waiting_since(7), kept(hourly(live=4), Lane.BACKFILL, day_window(MIDNIGHT), MIDNIGHT)
    part = (1000 - whole) / 48
    first = allowance([day_window(MIDNIGHT)], long, Lane.BACKFILL, MIDNIGHT)
    assert first.calls == pytest.approx(part, abs=2)
    assert first.until == MIDNIGHT + timedelta(minutes=30)
    spent = day_window(MIDNIGHT, used=100, history=100)
    assert calls_left([spent], long, Lane.BACKFILL, NOON) == pytest.approx(25 * part - 100, abs=2)


def test_what_a_long_history_could_not_spend_by_night_it_spends_by_day():
    night = allowance([day_window(MIDNIGHT)], waiting_since(7), Lane.BACKFILL, NOON)
    assert night.calls > 24 * 15


def test_a_history_that_came_in_the_evening_need_not_wait_for_half_hours():
    assert calls_left([day_window(MIDNIGHT)], waiting_since(5), Lane.BACKFILL, MIDNIGHT) > 700


def test_only_histories_are_rationed():
    held = [day_window(MIDNIGHT)]
    for lane in (lane for lane in Lane if lane is not Lane.BACKFILL):
        told = calls_left(held, waiting_since(7), lane, MIDNIGHT)
        assert told == calls_left(held, waiting_since(5), lane, MIDNIGHT)


def test_in_a_days_last_half_hour_a_long_history_gets_what_any_would():
    late = MIDNIGHT + timedelta(hours=23, minutes=45)
    for now in (late, late + timedelta(minutes=14, seconds=16)):
        held = [day_window(now, used=700, history=600)]
        assert calls_left(held, waiting_since(7), Lane.BACKFILL, now) == calls_left(
            held, waiting_since(5), Lane.BACKFILL, now
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
def test_a_lane_never_has_more_than_a_better_one_and_its_turn_always_comes(
    used, today, second, rate, spread, long
):
    now = MIDNIGHT + timedelta(seconds=second)
    held = windows(now, used=used, today=max(used, today))
    demand = hourly(spread, live=rate, interactive=1, reconcile=1, recheck=2)
    if long:
        demand = msgspec.structs.replace(demand, histories_since=MIDNIGHT - timedelta(hours=7))
    told = {lane: allowance(held, demand, lane, now) for lane in Lane}
    for better, worse in pairwise(Lane):
        assert told[better].calls >= told[worse].calls >= 0
    assert all(now < one.until <= MIDNIGHT + timedelta(days=1) for one in told.values())
    assert told[Lane.LIVE].calls == max(0, min(100 - used, 1000 - max(used, today)))
    assert min_calls_left(held, demand, now) <= told[Lane.BACKFILL].calls


@pytest.mark.parametrize("part", RELEASES[1:])
def test_at_the_very_instant_of_a_release_it_is_released_in_each_quarter_of_the_day(part):
    """Whoever waits is told this instant, and would wait in vain: parts of a day are not exact."""
    demand = hourly(live=40)
    for number in range(QUARTERS):
        now = MIDNIGHT + (number + part) * timedelta(minutes=15)
        before, then = (
            kept(demand, Lane.BACKFILL, quarter_window(now), when)
            for when in (now - timedelta(microseconds=1), now)
        )
        assert then < before
        assert (then == 0) == (part == RELEASES[-1])


def test_in_the_last_45_seconds_of_a_day_all_of_it_is_released():
    now = MIDNIGHT + timedelta(hours=23, minutes=59, seconds=16)
    assert allowance(windows(now, used=90, today=990), hourly(live=40), Lane.BACKFILL, now).calls == 10


# What is expected


def counted(*rows: tuple[int, int, str, int]) -> list[Counted]:
    """Days ago, quarter of the day, lane, calls."""
    today = int(MIDNIGHT.timestamp()) // 900
    return [Counted(today - days * QUARTERS + quarter, lane, calls) for days, quarter, lane, calls in rows]


def test_before_anything_was_seen_a_tenth_of_the_day_is_for_live_work():
    demand = learn([], None, NOON, 1000)
    assert demand.expected(["live"], 0, QUARTERS) == pytest.approx(100)
    assert demand.expected(["live"], 0, 24) == pytest.approx(25)


def test_what_was_only_assumed_of_a_day_is_not_kept_with_the_caution_of_what_was_seen():
    """Else a new installation could not fetch in its first hours what its first day has room for."""
    seen = msgspec.structs.replace(hourly(live=14), hours=8 * 24.0)
    assert backfill_holdback(seen) > backfill_holdback(hourly(live=14))
    needed = kept(hourly(live=14), Lane.RECONCILE, day_window(), MIDNIGHT)
    assert backfill_holdback(hourly(live=14)) == pytest.approx(needed, abs=1)


def test_of_a_day_that_began_unseen_only_the_rest_is_set_aside():
    assert backfill_holdback(learn([], None, NOON, 1000)) < backfill_holdback(learn([], None, MIDNIGHT, 1000))


def test_what_a_day_has_cost_is_known_by_the_quarter_and_without_histories():
    rows = counted((0, 1, "live", 30), (0, 1, "backfill", 90), (0, 2, OTHERS, 7), (1, 50, "live", 99))
    now = MIDNIGHT + timedelta(minutes=50)
    assert learn(rows, MIDNIGHT - timedelta(days=2), now, 1000).passed == (0, 0, 30, 37)
    assert learn(rows[2:3], MIDNIGHT + timedelta(minutes=31), now, 1000).passed == (0, 7)


def test_after_a_week_the_week_counts():
    rows = counted(*((day, 40, "live", 14) for day in range(1, 8)))
    demand = learn(rows, MIDNIGHT - timedelta(days=7), MIDNIGHT, 1000)
    assert demand.expected(["live"], 40, 44) == pytest.approx(14 * 7 / 8, rel=0.05)
    assert demand.expected(["live"], 0, 40) == pytest.approx(1.29, rel=0.01)


def test_calls_are_expected_at_the_hour_at_which_they_were_made():
    rows = counted(*((day, 40, "live", 10) for day in range(1, 8)), *((day, 80, OTHERS, 7) for day in (1, 2)))
    demand = learn(rows, MIDNIGHT - timedelta(days=7), MIDNIGHT, 1000)
    assert demand.expected(["live"], 40, 44) > 8 * demand.expected(["live"], 44, 48)
    assert demand.expected([OTHERS], 80, 84) > demand.expected([OTHERS], 40, 44)


def test_a_few_calls_in_the_first_minutes_are_no_flood():
    demand = learn(counted((0, 48, "live", 6)), NOON - timedelta(minutes=5), NOON, 1000)
    assert demand.expected(["live"], 0, QUARTERS) < 120


def test_a_forecast_counts_on_less_than_is_kept_before_anything_was_seen_and_soon_on_what_was():
    new = learn([], None, NOON, 1000)
    assert new.foreseen(["live"], 0, QUARTERS) == pytest.approx(50)
    rows = counted(*((day, q, "live", 3) for day in range(1, 3) for q in range(QUARTERS)))
    seen = learn(rows, MIDNIGHT - timedelta(days=2), MIDNIGHT, 1000)
    assert seen.foreseen(["live"], 0, QUARTERS) == pytest.approx(3 * QUARTERS, rel=0.15)
    assert abs(seen.foreseen(["live"], 0, QUARTERS) - 288) < abs(seen.expected(["live"], 0, QUARTERS) - 288)


def test_what_will_have_been_learned_comes_closer_to_what_is_likely():
    new = learn([], None, NOON, 1000)
    held = [new.after(hours).expected(["live"], 0, QUARTERS) for hours in (0, 24, 1e6)]
    assert held == [pytest.approx(100), pytest.approx(75), pytest.approx(50, rel=0.01)]
    assert (plain := hourly(live=9)).after(24) is plain


def test_calls_that_come_in_bunches_scatter_more_than_calls_that_come_one_by_one():
    def spread(calls: int, every: int) -> float:
        rows = counted(*((day, q, "live", calls) for day in range(1, 8) for q in range(0, QUARTERS, every)))
        return learn(rows, MIDNIGHT - timedelta(days=7), MIDNIGHT, 100).spread

    assert spread(1, 1) == 1.0
    assert spread(8, 8) > 4.0


def test_parts_of_a_quarter_are_expected_in_parts():
    demand = hourly(live=40)
    assert demand.expected(["live"], 40, 40.5) == pytest.approx(5)
    assert demand.expected(["live"], 95.5, 96) == pytest.approx(5)
    assert demand.expected(["nobody"], 0, 96) == 0
