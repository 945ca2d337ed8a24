"""The expected calls of each lane: first assumed, then learned from the calls of the last days."""

from __future__ import annotations

from datetime import timedelta

import pytest
from demands import MIDNIGHT, NOON, counted, hourly

from feedzone.domain.quota.demand import OTHERS, QUARTERS, learn


def test_before_any_observation_live_work_is_assumed_to_need_a_tenth_of_the_day():
    demand = learn([], None, NOON, 1000)
    assert demand.expected(["live"], 0, QUARTERS) == pytest.approx(100)
    assert demand.expected(["live"], 0, 24) == pytest.approx(25)


def test_the_cost_of_a_day_is_known_by_quarter_and_without_backfills():
    rows = counted((0, 1, "live", 30), (0, 1, "backfill", 90), (0, 2, OTHERS, 7), (1, 50, "live", 99))
    now = MIDNIGHT + timedelta(minutes=50)
    assert learn(rows, MIDNIGHT - timedelta(days=2), now, 1000).spent_by_quarter == (0, 0, 30, 37)
    assert learn(rows[2:3], MIDNIGHT + timedelta(minutes=31), now, 1000).spent_by_quarter == (0, 7)


def test_after_a_week_the_observations_count_most():
    rows = counted(*((day, 40, "live", 14) for day in range(1, 8)))
    demand = learn(rows, MIDNIGHT - timedelta(days=7), MIDNIGHT, 1000)
    assert demand.expected(["live"], 40, 44) == pytest.approx(14 * 7 / 8, rel=0.05)
    assert demand.expected(["live"], 0, 40) == pytest.approx(1.29, rel=0.01)


def test_calls_are_expected_at_the_hour_at_which_they_were_made():
    rows = counted(*((day, 40, "live", 10) for day in range(1, 8)), *((day, 80, OTHERS, 7) for day in (1, 2)))
    demand = learn(rows, MIDNIGHT - timedelta(days=7), MIDNIGHT, 1000)
    assert demand.expected(["live"], 40, 44) > 8 * demand.expected(["live"], 44, 48)
    assert demand.expected([OTHERS], 80, 84) > demand.expected([OTHERS], 40, 44)


def test_a_few_calls_in_the_first_minutes_do_not_raise_the_demand_much():
    demand = learn(counted((0, 48, "live", 6)), NOON - timedelta(minutes=5), NOON, 1000)
    assert demand.expected(["live"], 0, QUARTERS) < 120


def test_a_forecast_assumes_fewer_calls_than_the_reserve_and_soon_follows_observations():
    new = learn([], None, NOON, 1000)
    assert new.likely_calls(["live"], 0, QUARTERS) == pytest.approx(50)
    rows = counted(*((day, q, "live", 3) for day in range(1, 3) for q in range(QUARTERS)))
    seen = learn(rows, MIDNIGHT - timedelta(days=2), MIDNIGHT, 1000)
    assert seen.likely_calls(["live"], 0, QUARTERS) == pytest.approx(3 * QUARTERS, rel=0.15)
    assert abs(seen.likely_calls(["live"], 0, QUARTERS) - 288) < abs(
        seen.expected(["live"], 0, QUARTERS) - 288
    )


def test_the_demand_learned_later_is_closer_to_the_likely_calls():
    new = learn([], None, NOON, 1000)
    expected = [new.after(hours).expected(["live"], 0, QUARTERS) for hours in (0, 24, 1e6)]
    assert expected == [pytest.approx(100), pytest.approx(75), pytest.approx(50, rel=0.01)]
    assert (plain := hourly(live=9)).after(24) is plain


def test_calls_in_bunches_have_a_larger_spread_than_single_calls():
    def spread(calls: int, every: int) -> float:
        rows = counted(*((day, q, "live", calls) for day in range(1, 8) for q in range(0, QUARTERS, every)))
        return learn(rows, MIDNIGHT - timedelta(days=7), MIDNIGHT, 100).spread

    assert spread(1, 1) == 1.0
    assert spread(8, 8) > 4.0


def test_half_a_quarter_has_half_of_its_expected_calls():
    demand = hourly(live=40)
    assert demand.expected(["live"], 40, 40.5) == pytest.approx(5)
    assert demand.expected(["live"], 95.5, 96) == pytest.approx(5)
    assert demand.expected(["nobody"], 0, 96) == 0
