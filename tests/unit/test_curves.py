"""Downsampled streams keep the extremes that a reader looks for; malformed ones raise nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedzone.domain.curves import MAX_SAMPLES, downsample
from feedzone.domain.track import decode_polyline


def channel(*values):
    return {"data": list(values)}


def test_short_streams_stay_unchanged():
    drawn = downsample(
        {"time": channel(0, 1, 5), "watts": channel(10, None, 30), "moving": channel(True, True, True)}
    )
    assert (drawn.samples, drawn.axes, drawn.track) == (3, {"time": [0, 1, 5]}, [])
    assert drawn.channels == {"watts": [10, None, 30]}


@settings(max_examples=30, deadline=None)
@given(st.integers(), st.integers(MAX_SAMPLES + 1, 9000), st.floats(0, 0.9))
def test_long_streams_keep_their_ends_and_the_extremes_of_every_channel(seed, samples, gaps):
    dice = random.Random(seed)
    wholes = {
        name: [None if dice.random() < gaps else dice.gauss(100, 30) for _ in range(samples)]
        for name in ("watts", "heartrate", "altitude")
    }
    streams = {"time": channel(*range(samples))} | {name: channel(*values) for name, values in wholes.items()}
    drawn = downsample(streams)
    assert len(drawn.axes["time"]) <= MAX_SAMPLES + 2
    assert (drawn.axes["time"][0], drawn.axes["time"][-1]) == (0, samples - 1)
    for name, values in wholes.items():
        known, remaining = (
            [value for value in some if value is not None] for some in (values, drawn.channels[name])
        )
        assert (min(remaining), max(remaining)) == (min(known), max(known))
        assert len(drawn.channels[name]) == len(drawn.axes["time"])


def test_an_axis_never_decreases_and_has_no_gaps():
    assert downsample({"distance": channel(0, 5, None, 4, 9), "watts": channel(*range(5))}).axes == {
        "distance": [0, 5, 5, 5, 9]
    }


def test_shorter_channels_are_padded_with_gaps():
    drawn = downsample({"time": channel(0, 1, 2), "watts": channel(7), "latlng": channel([1.0, 2.0])})
    assert drawn.channels["watts"] == [7, None, None]
    assert drawn.track == [(1.0, 2.0), None, None]


@pytest.mark.parametrize(
    "streams",
    [
        {},
        {"watts": None},
        {"watts": {"data": None}},
        {"watts": channel("much", True, [1])},
        {"latlng": channel([0, 0], [91.0, 0.0], ["a", 1], None, 5)},
    ],
)
def test_a_value_that_is_no_number_or_position_is_a_gap(streams):
    drawn = downsample(streams)
    assert (drawn.channels, drawn.track) == ({}, [])


def test_the_polyline_of_googles_documentation_decodes():
    assert decode_polyline("_p~iF~ps|U_ulLnnqC_mqNvxq`@") == [
        (38.5, -120.2),
        (40.7, -120.95),
        (43.252, -126.453),
    ]


@given(st.text(max_size=60))
def test_a_damaged_polyline_gives_only_points_on_earth(text):
    assert all(abs(lat) <= 90 and abs(lng) <= 180 for lat, lng in decode_polyline(text))
