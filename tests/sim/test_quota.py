"""More history than Strava allows to fetch: what is allowed is used, and nothing new waits.

Two fifths of the world that `python -m sim.quota` makes: four athletes, and two fifths of a new application's
limits, with real windows and days. What is measured, and how: test_quota_figures.py.
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
    days=2, warm_up_days=1.0, athletes=4, history_days=340, processes=4, limits=Limits(80, 800, 40, 400)
)
SHARED = replace(SMALL, days=1, others=0.33)
FINITE = replace(SMALL, days=5, history_days=270, staggered=True, until_done=True)


@pytest.fixture(scope="module")
def alone():
    return figures(_lived(1, SMALL))


@pytest.fixture(scope="module")
def shared():
    return figures(_lived(2, SHARED))


def _lived(seed: int, plan: Plan) -> Record:
    record = live(seed, plan)
    assert record.crashes == []
    return record


# -- alone with the application --------------------------------------------------------------------------


def test_of_each_days_reads_99_percent_are_spent_while_work_waits(alone):
    days = [day for day in alone.days if day.waited]
    assert len(days) == len(alone.days)  # or the history was too short to tell
    assert [day for day in days if day.share < 0.99] == []


def test_alone_with_the_application_strava_never_answers_429(alone):
    """Pain 41."""
    assert alone.refused_in_window == {}


def test_a_new_activity_is_stored_within_a_minute_while_history_is_fetched(alone):
    """Pain 45: but for one that comes when the day's quota is gone."""
    assert len(alone.latencies) > 20
    assert alone.percentile(0.99) < 60


def test_of_twenty_new_activities_19_find_that_the_day_has_quota_left(alone):
    """Pain 45: a day that history has spent by the morning would excuse everything."""
    assert sum(each.gone for each in alone.latencies) <= len(alone.latencies) / 20


def test_all_histories_advance_alike(alone):
    _assert_nobody_starves(alone)


# -- somebody else takes a third -------------------------------------------------------------------------


def test_with_others_in_the_application_a_window_has_one_429_at_most(shared):
    """Pain 41."""
    assert sum(day.others for day in shared.days) > 0.1 * sum(day.possible for day in shared.days)
    assert shared.refused_at_once <= 1


def test_with_others_in_the_application_a_new_activity_is_stored_within_a_minute(shared):
    """But for one that comes when they have just taken what was left of the window."""
    assert shared.percentile(0.9) < 60
    assert shared.percentile(0.99) < QUARTER_S + 60


def test_with_others_in_the_application_no_history_starves(shared):
    _assert_nobody_starves(shared)


def _assert_nobody_starves(found):
    done = [wait.done for wait in found.waits]
    assert len(done) == SMALL.athletes
    assert min(done) > 0.5 * sum(done) / len(done)
    # Where a call an hour is left, four take turns.
    assert max(wait.longest_s for wait in found.waits) <= 3 * HOUR_S


# -- histories that end ----------------------------------------------------------------------------------


def test_the_end_of_a_long_history_is_told_from_its_first_tenth_on():
    """Pain 47."""
    promises = figures(_lived(3, FINITE)).promises
    assert {promise.tenth for promise in promises} >= {1, 5, 9}
    assert len({promise.athlete_id for promise in promises}) > 2  # some athletes, and all that waits
    assert [promise for promise in promises if error(promise) > 0.15] == []
