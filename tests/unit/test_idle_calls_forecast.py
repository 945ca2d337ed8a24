"""How many calls are idle, and how often they let athletes be compared."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from demands import MIDNIGHT, NOON, hourly
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain.quota.idle import KEPT_SHARE, idle_calls_an_hour
from feedzone.domain.quota.windows import WINDOWS, Window, window_end, window_start
from feedzone.domain.reconciliation import COMPARED_EVERY, RESTING_TIMES, SHORTEST_PAUSE, pauses

HOUR = timedelta(hours=1)
counts = st.integers(0, 100_000)


def windows(now: datetime, *, day: int = 1000, quarter: int = 100, used: int = 0) -> list[Window]:
    """Return the windows of a day with `used` calls so far, none of them in this quarter."""
    return [
        Window(
            name,
            window_start(name, now),
            window_end(name, now),
            day if name.endswith("_day") else quarter,
            used if name.endswith("_day") else 0,
        )
        for name in WINDOWS
    ]


def test_without_demand_all_but_the_kept_share_is_spent_evenly():
    reserved = 6  # the least that live work and requests may need
    expected = (1000 - reserved) / 24 - KEPT_SHARE * 1000 / 24
    assert idle_calls_an_hour(windows(MIDNIGHT), hourly(), MIDNIGHT) == pytest.approx(expected, abs=0.01)


def test_what_is_kept_for_backfills_is_spent_towards_midnight():
    late = MIDNIGHT + 23.5 * HOUR
    assert idle_calls_an_hour(windows(late, used=800), hourly(), late) > 350


def test_expected_calls_of_other_lanes_are_not_idle():
    busy = hourly(live=30, reconcile=2, recheck=4)
    free = idle_calls_an_hour(windows(NOON, used=300), hourly(), NOON)
    assert idle_calls_an_hour(windows(NOON, used=300), busy, NOON) < free - 30


@pytest.mark.parametrize("used", [1000, 1400])
def test_a_spent_day_has_no_idle_calls(used):
    assert idle_calls_an_hour(windows(NOON, used=used), hourly(), NOON) == 0


def test_a_spent_quarter_has_no_idle_calls():
    full = [
        Window(w.name, w.starts_at, w.ends_at, w.quota, w.used if w.is_day else w.quota)
        for w in windows(NOON)
    ]
    assert idle_calls_an_hour(full, hourly(), NOON) == 0


@given(st.integers(0, 1200), st.floats(0, 23.99))
def test_the_pace_never_exceeds_what_is_left(used, hours):
    now = MIDNIGHT + hours * HOUR
    left = (window_end("read_day", now) - now) / HOUR
    assert idle_calls_an_hour(windows(now, used=used), hourly(), now) * left <= max(0, 1000 - used) + 1e-6


@given(st.floats(0, 1000), counts, counts)
def test_pauses_have_bounds_and_active_athletes_come_first(calls, active, resting):
    pause = pauses(calls, active, resting)
    assert SHORTEST_PAUSE <= pause.active <= pause.resting <= COMPARED_EVERY
    assert pause.resting <= RESTING_TIMES * pause.active


@given(st.floats(0.1, 1000), counts, counts)
def test_comparisons_spend_no_more_than_the_idle_calls(calls, active, resting):
    """The six hours are a floor: they are worth calls that are not idle."""
    pause = pauses(calls, active, resting)
    if pause.resting < COMPARED_EVERY:
        assert active / (pause.active / HOUR) + resting / (pause.resting / HOUR) <= calls + 1e-6


def test_a_small_application_compares_active_athletes_every_ten_minutes():
    assert pauses(idle_calls_an_hour(windows(MIDNIGHT), hourly(), MIDNIGHT), 3, 4).active == SHORTEST_PAUSE


def test_without_idle_calls_athletes_are_compared_every_six_hours():
    assert pauses(0, 5, 5) == (COMPARED_EVERY, COMPARED_EVERY)
