"""Tracks as SVG, and quantities as text."""

from __future__ import annotations

import pytest

from feedzone.web.rendering.charts import BOX, track_svg
from feedzone.web.rendering.units import measures


def test_a_track_is_drawn_north_up_and_in_its_true_shape():
    """A square of a hundred metres at sixty degrees north is twice as many degrees wide as high."""
    made = track_svg([(60.0, 10.0), (60.001, 10.0), (60.001, 10.002), (60.0, 10.002), (60.0, 10.0)])
    assert made.width == BOX
    assert made.height == pytest.approx(BOX, rel=0.01)
    assert made.begin == made.end == (0, made.height)
    assert made.path.startswith(f"M0 {made.height}L0 0L{BOX} 0L{BOX} {made.height}")


@pytest.mark.parametrize("points", [[], [(47.0, 8.0)]])
def test_a_track_of_fewer_than_two_points_has_no_picture(points):
    assert track_svg(points) is None


def test_gps_noise_of_a_resting_device_is_not_drawn_as_a_route():
    made = track_svg([(47.0, 8.0), (47.000004, 8.000003), (47.0, 8.000004)])
    assert max(made.width, made.height) < BOX / 20


@pytest.mark.parametrize("lat", [90.0, -90.0])
def test_a_track_over_a_pole_can_be_drawn(lat):
    assert track_svg([(lat, 0.0), (lat - lat / 90, 120.0)]) is not None


def test_a_long_track_stays_a_small_picture():
    winding = [(47 + (n % 7) / 1e6, 8 + n / 1e5) for n in range(13_000)]
    assert len(track_svg(winding).path) < 10_000


@pytest.mark.parametrize(
    ("sport", "units", "said"),
    [
        ("Ride", "metric", "36.0 km/h"),
        ("Ride", "imperial", "22.4 mph"),
        ("Run", "metric", "1:40 /km"),
        ("TrailRun", "imperial", "2:41 /mi"),
        ("Swim", "metric", "0:10 /100 m"),
        (None, "metric", "36.0 km/h"),
    ],
)
def test_speed_is_shown_as_usual_for_the_sport(sport, units, said):
    assert measures(units, sport).speed.text(10.0) == said


def test_standing_still_has_no_pace():
    assert measures("metric", "Run").speed.text(0.0) == "—"
    assert measures("metric", "Ride").speed.text(0.0) == "0.0 km/h"


def test_zero_is_never_negative():
    assert measures("metric", "Run").height.text(-0.2) == "0 m"
