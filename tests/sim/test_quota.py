"""The engine uses the whole quota for long backfills, and new activities do not wait for them.

The world is three tenths of the one that `python -m sim.quota` runs: three athletes, and three tenths of a
new application's limits, with real windows and days. test_quota_figures.py explains the figures.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedzone.sandbox import Limits

from .quota.figures import error, figures
from .quota.plan import HOUR_S, QUARTER_S, Plan
from .quota.record import Record
from .quota.world import live

SMALL = Plan(
    days=1, warm_up_days=1.0, athletes=3, history_days=340, processes=3, limits=Limits(60, 600, 30, 300)
)
SHARED = replace(SMALL, processes=2, others=0.33)
FINITE = replace(SMALL, days=5, processes=2, history_days=270, staggered=True, until_done=True)


@pytest.fixture(scope="module")
def alone():
    return figures(_record_of(1, SMALL))


@pytest.fixture(scope="module")
def shared():
    return figures(_record_of(2, SHARED))


def _record_of(seed: int, plan: Plan) -> Record:
    record = live(seed, plan)
    assert record.crashes == []
    return record


# -- no other program -------------------------------------------------------------------------------


def test_each_day_99_percent_of_the_reads_are_used_while_work_is_queued(alone):
    days = [day for day in alone.days if day.waited]
    assert len(days) == len(alone.days)  # otherwise the backfill is too short for this test
    assert [day for day in days if day.share < 0.99] == []


def test_without_other_programs_strava_never_answers_429(alone):
    assert alone.refused_in_window == {}


def test_a_new_activity_is_stored_within_a_minute_during_a_backfill(alone):
    """An upload that arrives when the day's quota is used up does not count."""
    assert len(alone.latencies) > 20
    assert alone.percentile(0.99) < 60


def test_for_19_of_20_new_activities_the_day_has_quota_left(alone):
    """Otherwise a backfill that uses up the day by the morning would excuse every late upload."""
    assert sum(latency.gone for latency in alone.latencies) <= len(alone.latencies) / 20


def test_all_backfills_advance_at_the_same_rate(alone):
    _assert_no_backfill_starves(alone)


# -- another program takes a third -----------------------------------------------------------------------


def test_with_another_program_a_window_has_at_most_one_429(shared):
    assert sum(day.others for day in shared.days) > 0.1 * sum(day.possible for day in shared.days)
    assert shared.refused_at_once <= 1


def test_with_another_program_a_new_activity_is_stored_within_a_minute(shared):
    """One in ten may wait for the next window: the program has just used up the present one."""
    assert shared.percentile(0.9) < 60
    assert shared.percentile(0.99) < QUARTER_S + 60


def test_with_another_program_no_backfill_starves(shared):
    _assert_no_backfill_starves(shared)


def _assert_no_backfill_starves(result):
    done = [wait.done for wait in result.waits]
    assert len(done) == SMALL.athletes
    assert min(done) > 0.5 * sum(done) / len(done)
    # The athletes take turns even if one call an hour is left.
    assert max(wait.longest_s for wait in result.waits) <= 3 * HOUR_S


# -- backfills that end ----------------------------------------------------------------------------------


def test_the_forecast_of_a_long_backfill_is_right_from_its_first_tenth_on():
    predictions = figures(_record_of(3, FINITE)).predictions
    assert {prediction.tenth for prediction in predictions} >= {1, 5, 9}
    assert len({prediction.athlete_id for prediction in predictions}) > 2  # athletes, and the whole queue
    assert [prediction for prediction in predictions if error(prediction) > 0.15] == []
