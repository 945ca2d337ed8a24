"""Curves and track as browsers draw them: as JSON for scripts, as SVG without."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log, pi, radians, tan
from typing import NamedTuple

from msgspec import Struct

from ...domain.curves import Curves, thin
from ...domain.track import Point
from ...queries.activities import Activity
from .units import Measure, Measures

SPARKS = 240
"""Points of a curve that is drawn without scripts."""

WIDTH, HEIGHT = 1000, 100
"""The box of such a curve, stretched to where it stands."""

BOX = 1000
"""The longer side of the box that a track is drawn in."""


class Curve(Struct, frozen=True):
    """A channel in the reader's units. `pace`: told in minutes and seconds, and the faster is on top."""

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
    """What the page's script asks for."""

    axes: dict[str, Axis]
    curves: list[Curve]
    track: list[Point | None]


class Range(NamedTuple):
    """A curve in words: what the page says of it without scripts."""

    name: str
    label: str
    words: str
    path: str


def plot(drawn: Curves, told: Measures) -> Plot:
    axes = {"time": Measure("", float), "distance": told.distance}
    return Plot(
        {
            name: Axis(axes[name].unit, [round(axes[name].convert(one) or 0.0, 4) for one in values])
            for name, values in drawn.axes.items()
        },
        [_curve(name, values, told) for name, values in drawn.channels.items()],
        [point and (round(point[0], 6), round(point[1], 6)) for point in drawn.track],
    )


def _measured(name: str, told: Measures) -> tuple[str, Measure]:
    return {
        "altitude": ("Altitude", told.height),
        "velocity_smooth": ("Pace" if told.speed.is_pace else "Speed", told.speed),
        "heartrate": ("Heart rate", told.heartrate),
        "watts": ("Power", told.power),
        "cadence": ("Cadence", told.cadence),
        "temp": ("Temperature", told.temperature),
    }[name]


def _curve(name: str, values: Sequence[float | None], told: Measures) -> Curve:
    label, measure = _measured(name, told)
    converted = [None if value is None else measure.convert(value) for value in values]
    rounded = [None if value is None else round(value, measure.digits + 1) for value in converted]
    return Curve(name, label, measure.unit, measure.digits, measure.is_pace, rounded)


def ranges(drawn: Curves, told: Measures, activity: Activity) -> list[Range]:
    """Of each curve the lowest and the highest value, and the average as Strava tells it."""
    averages = {
        "velocity_smooth": activity.average_speed,
        "heartrate": activity.average_heartrate,
        "watts": activity.average_watts,
        "cadence": activity.average_cadence,
        "temp": activity.average_temp,
    }
    along = drawn.axes.get("distance") or drawn.axes.get("time") or []
    return [_range(name, values, along, told, averages.get(name)) for name, values in drawn.channels.items()]


def _range(
    name: str, values: Sequence[float | None], along: Sequence[float], told: Measures, average: float | None
) -> Range:
    label, measure = _measured(name, told)
    moving = [value for value in values if value is not None and measure.convert(value) is not None]
    low, high = measure.number(min(moving, default=None)), measure.number(max(moving, default=None))
    # The slowest pace of all only says that somebody stood still.
    words = f"fastest {high}" if measure.is_pace else low if low == high else f"{low} to {high}"
    mean = f", average {measure.number(average)}" if average else ""
    return Range(name, label, f"{words} {measure.unit}{mean}", spark(values, along))


def spark(values: Sequence[float | None], along: Sequence[float]) -> str:
    """The curve as an SVG path in a box of WIDTH and HEIGHT."""
    points = thin(values, SPARKS)
    if not points:
        return ""
    numbers = [value for _, value in points]
    low, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
    places = along if len(along) == len(values) else [float(index) for index in range(len(values))]
    whole = (places[-1] - places[0]) or 1.0
    return "M" + "L".join(
        f"{(places[index] - places[0]) / whole * WIDTH:.0f} {HEIGHT - (value - low) / span * HEIGHT:.0f}"
        for index, value in points
    )


class Sketch(NamedTuple):
    """A track as SVG: a path in a box just large enough for it, and where it begins and ends."""

    width: int
    height: int
    path: str
    begin: tuple[int, int]
    end: tuple[int, int]


def sketch(points: Sequence[Point]) -> Sketch | None:
    """North is up, and shapes are true, as on the map that scripts draw in its place (Web Mercator)."""
    if len(points) < 2:
        return None
    flat = [(radians(lng), -log(tan(pi / 4 + radians(_tame(lat)) / 2))) for lat, lng in points]
    west, north = min(x for x, _ in flat), min(y for _, y in flat)
    across, down = max(x for x, _ in flat) - west, max(y for _, y in flat) - north
    # Who has only walked around the house still gets a picture, though not of the device's noise.
    least = radians(0.0005) / cos(radians(_tame(points[0][0])))
    scale = BOX / max(across, down, least)
    placed = [(round((x - west) * scale), round((y - north) * scale)) for x, y in flat]
    path = "M" + "L".join(f"{x} {y}" for x, y in _apart(placed))
    return Sketch(max(1, round(across * scale)), max(1, round(down * scale)), path, placed[0], placed[-1])


def _apart(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without those that nobody could tell from the one before."""
    kept = [places[0]]
    for x, y in places[1:-1]:
        if abs(x - kept[-1][0]) > 1 or abs(y - kept[-1][1]) > 1:
            kept.append((x, y))
    return [*kept, places[-1]]


def _tame(lat: float) -> float:
    """Mercator has no poles."""
    return max(-85.0, min(85.0, lat))
