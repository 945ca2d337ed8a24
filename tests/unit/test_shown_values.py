"""How values read on pages: times, distances, shares, and the curves of an activity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from markupsafe import Markup

from feedzone.domain.job import Lane
from feedzone.domain.quota.demand import NOTHING
from feedzone.domain.quota.reserve import allowance
from feedzone.domain.quota.windows import Window
from feedzone.store.schema.personal import ATHLETE_TABLES
from feedzone.web.auth.viewer import Viewer
from feedzone.web.rendering.charts import plot, ranges
from feedzone.web.rendering.filters import ago, clock_time, distance, elapsed, percent
from feedzone.web.rendering.units import measures

NOW = datetime(2026, 11, 26, 15, 0, tzinfo=UTC)


def context(**viewer: Any) -> Any:
    return {"viewer": Viewer(**viewer), "now": NOW}


@pytest.mark.parametrize(("seconds", "text"), [(4, "just now"), (5, "5 s ago"), (3600, "1 h ago")])
def test_an_age_is_shown_from_five_seconds_on(seconds, text):
    assert Markup(ago(context(), NOW - timedelta(seconds=seconds))).striptags() == text


@pytest.mark.parametrize(("units", "text"), [("metric", "16.1 km"), ("imperial", "10.0 mi")])
def test_a_distance_is_in_the_viewers_units(units, text):
    assert distance(context(units=units), 16_093.44) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "—"), (0.5, "50.0 %"), (0.9999, "99.9 %"), (1, "100 %"), (0.0, "0.0 %")]
)
def test_only_everything_is_a_hundred_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("seconds", "text"), [(3723, "1:02:03"), (123, "2:03"), (3599, "59:59"), (0, "")])
def test_a_moving_time_is_shown_like_on_a_watch(seconds, text):
    assert clock_time(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "—"), (0.2345, "234 ms"), (1.25, "1.2 s")])
def test_a_step_below_a_second_is_shown_in_milliseconds(seconds, text):
    assert elapsed(seconds) == text


def test_a_run_shows_its_fastest_pace_and_values_keep_a_digit_more_than_shown():
    drawn = SimpleNamespace(
        axes={"time": [0.0, 1.0], "distance": [0.0, 1234.5]},
        channels={"velocity_smooth": [2.0, 4.0], "altitude": [100.26, 101.0]},
        track=[None, (47.1234567, 8.1)],
    )
    none = SimpleNamespace(
        average_speed=None,
        average_heartrate=None,
        average_watts=None,
        average_cadence=None,
        average_temp=None,
    )
    shown = {each.name: each.text for each in ranges(drawn, measures("metric", "Run"), none)}
    assert shown["velocity_smooth"] == "fastest 4:10 /km"
    curves = {curve.name: curve.values for curve in plot(drawn, measures("metric", "Run")).curves}
    assert curves["altitude"] == [100.3, 101.0]
    assert plot(drawn, measures("metric", "Run")).axes["distance"].values == [0.0, 1.2345]


def test_a_window_after_more_calls_counts_each():
    window = Window("read_15min", NOW, NOW + timedelta(minutes=15), 100, 7, backfill_calls=2)
    after = window.after(5, for_backfill=True)
    assert (after.used, after.backfill_calls) == (12, 7)
    assert window.after(5, for_backfill=False).backfill_calls == 2


def test_a_demand_is_of_the_day_on_which_it_was_learned():
    assert not NOTHING.is_of(NOW)
    assert NOTHING.is_of(datetime(1970, 1, 1, 23, tzinfo=UTC))


def test_a_purge_locks_jobs_before_activities_before_all_others():
    """Every other transaction does, and two orders would deadlock."""
    assert [table.name for table in ATHLETE_TABLES][:3] == ["jobs", "job_attempts", "strava_activities"]


def test_of_two_spent_windows_the_one_that_opens_last_is_named():
    quarter = Window("read_15min", NOW, NOW + timedelta(minutes=15), 100, 100)
    midnight = datetime(2026, 11, 26, tzinfo=UTC)
    day = Window("read_day", midnight, midnight + timedelta(days=1), 1000, 1000)
    for windows in ([quarter, day], [day, quarter]):
        assert allowance(windows, NOTHING, Lane.LIVE, NOW).window == "read_day"
