"""Curves as JSON for the page's script, and tracks as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log, pi, radians, tan
from typing import NamedTuple

from msgspec import Struct

from ...domain.curves import Curves
from ...domain.track import Point
from ...queries.activities import Activity
from .units import Measure, Measures

BOX = 1000
"""The longer side of the SVG box of a track."""

MAX_LATITUDE = 85.0
"""The Mercator projection ends before the poles."""

MIN_SPAN_DEGREES = 0.0005
"""About 50 m. A shorter track is not enlarged to the whole box: that would draw GPS noise as a track."""


class Curve(Struct, frozen=True):
    """A channel in the viewer's units. `pace`: shown as minutes and seconds, the fastest on top."""

    name: str
    label: str
    unit: str
    digits: int
    pace: bool
    values: list[float | None]


class Axis(Struct, frozen=True):
    unit: str
    values: list[float]


class Plot(Struct, frozen=True):
    """The data that the page's script draws."""

    axes: dict[str, Axis]
    curves: list[Curve]
    track: list[Point | None]


class Range(NamedTuple):
    """The minimum, average and maximum of a channel as text, which reads without scripts."""

    name: str
    label: str
    text: str


def plot(drawn: Curves, measures: Measures) -> Plot:
    axes = {"time": Measure("", float), "distance": measures.distance}
    return Plot(
        {
            name: Axis(axes[name].unit, [round(axes[name].convert(value) or 0.0, 4) for value in values])
            for name, values in drawn.axes.items()
        },
        [_curve(name, values, measures) for name, values in drawn.channels.items()],
        [point and (round(point[0], 6), round(point[1], 6)) for point in drawn.track],
    )


def _label_and_measure(name: str, measures: Measures) -> tuple[str, Measure]:
    return {
        "altitude": ("Altitude", measures.height),
        "velocity_smooth": ("Pace" if measures.speed.is_pace else "Speed", measures.speed),
        "heartrate": ("Heart rate", measures.heartrate),
        "watts": ("Power", measures.power),
        "cadence": ("Cadence", measures.cadence),
        "temp": ("Temperature", measures.temperature),
    }[name]


def _curve(name: str, values: Sequence[float | None], measures: Measures) -> Curve:
    label, measure = _label_and_measure(name, measures)
    converted = [None if value is None else measure.convert(value) for value in values]
    rounded = [None if value is None else round(value, measure.digits + 1) for value in converted]
    return Curve(name, label, measure.unit, measure.digits, measure.is_pace, rounded)


def ranges(drawn: Curves, measures: Measures, activity: Activity) -> list[Range]:
    """Return minimum and maximum of each channel, and the average where Strava gives one."""
    averages = {
        "velocity_smooth": activity.average_speed,
        "heartrate": activity.average_heartrate,
        "watts": activity.average_watts,
        "cadence": activity.average_cadence,
        "temp": activity.average_temp,
    }
    return [_range(name, values, measures, averages.get(name)) for name, values in drawn.channels.items()]


def _range(name: str, values: Sequence[float | None], measures: Measures, average: float | None) -> Range:
    label, measure = _label_and_measure(name, measures)
    moving = [value for value in values if value is not None and measure.convert(value) is not None]
    low, high = measure.number(min(moving, default=None)), measure.number(max(moving, default=None))
    mean = f"avg {measure.number(average)}" if average else ""
    parts: tuple[str, ...]
    if measure.is_pace:
        # The slowest pace only says that the athlete stopped.
        parts = (mean, f"fastest {high}")
    elif low == high:
        parts = (low,)
    else:
        parts = (f"min {low}", mean, f"max {high}")
    return Range(name, label, f"{' · '.join(part for part in parts if part)} {measure.unit}")


class TrackSvg(NamedTuple):
    """A track as an SVG path in the smallest box around it, with its first and last point."""

    width: int
    height: int
    path: str
    begin: tuple[int, int]
    end: tuple[int, int]


def track_svg(points: Sequence[Point]) -> TrackSvg | None:
    """Return the track, north up, in Web Mercator: the same shape as on the map that scripts draw."""
    if len(points) < 2:
        return None
    flat = [(radians(lng), -log(tan(pi / 4 + radians(_clamped(lat)) / 2))) for lat, lng in points]
    west, north = min(x for x, _ in flat), min(y for _, y in flat)
    across, down = max(x for x, _ in flat) - west, max(y for _, y in flat) - north
    least = radians(MIN_SPAN_DEGREES) / cos(radians(_clamped(points[0][0])))
    scale = BOX / max(across, down, least)
    placed = [(round((x - west) * scale), round((y - north) * scale)) for x, y in flat]
    path = "M" + "L".join(f"{x} {y}" for x, y in _distinct(placed))
    return TrackSvg(max(1, round(across * scale)), max(1, round(down * scale)), path, placed[0], placed[-1])


def _distinct(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Drop points that nobody can tell from the one before."""
    distinct = [places[0]]
    for x, y in places[1:-1]:
        if abs(x - distinct[-1][0]) > 1 or abs(y - distinct[-1][1]) > 1:
            distinct.append((x, y))
    return [*distinct, places[-1]]


def _clamped(lat: float) -> float:
    return max(-MAX_LATITUDE, min(MAX_LATITUDE, lat))
