"""Windows follow Strava's clock; a machine clock that is right is left as it is."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from feedzone.clock import StravaClock


@pytest.fixture
def strava(clock):
    return StravaClock(clock)


def hear(strava, clock, *, ahead: float, took: float = 0.0):
    """Observe a response dated in the middle of a call, with Strava's clock `ahead` seconds ahead."""
    sent = clock.now()
    clock.advance(seconds=took)
    middle = sent + timedelta(seconds=took / 2 + ahead)
    strava.observe(format_datetime(middle.replace(microsecond=0), usegmt=True), sent, clock.now())


@pytest.mark.parametrize("ahead", [-40_000, -3600, -2.5, 2.5, 61, 3600])
def test_a_wrong_clock_is_noticed_to_the_second(strava, clock, ahead):
    hear(strava, clock, ahead=ahead)
    assert abs(strava.skew.total_seconds() - ahead) <= 1


@pytest.mark.parametrize(("ahead", "took"), [(0, 0), (0.4, 0.3), (-0.4, 5), (0, 29), (-9, 25)])
def test_a_difference_that_a_delay_explains_is_not_a_wrong_clock(strava, clock, ahead, took):
    hear(strava, clock, ahead=ahead, took=took)
    assert strava.skew == timedelta(0)


def test_quick_responses_refine_the_estimate_of_slow_ones(strava, clock):
    hear(strava, clock, ahead=20, took=28)
    assert strava.skew < timedelta(seconds=20)
    hear(strava, clock, ahead=20, took=0.2)
    assert abs(strava.skew.total_seconds() - 20) <= 1.2


def test_a_corrected_machine_clock_is_trusted_again(strava, clock):
    hear(strava, clock, ahead=300)
    clock.advance(seconds=300)
    hear(strava, clock, ahead=0, took=0.3)
    assert strava.skew == timedelta(0)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Tue, 10 Oct 2017 17:10:34 GMT", "0", "\x00"])
def test_an_implausible_date_is_ignored(strava, clock, date):
    strava.observe(date, clock.now(), clock.now())
    assert strava.skew == timedelta(0)


def test_an_instant_of_stravas_clock_converts_to_machine_time(strava, clock):
    hear(strava, clock, ahead=60)
    assert strava.to_machine_time(strava.now()) == clock.now()
