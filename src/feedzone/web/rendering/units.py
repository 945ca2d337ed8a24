"""Measures in the viewer's units, as athletes read them: pace for runs and swims, else speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..auth.viewer import Units

METRES_A_MILE = 1609.344
METRES_A_FOOT = 0.3048
METRES_A_YARD = 0.9144

ON_FOOT = frozenset({"Run", "TrailRun", "VirtualRun", "Walk", "Hike", "Snowshoe"})
IN_WATER = frozenset({"Swim"})

MIN_PACE_SPEED = 0.3
"""Metres per second. Slower counts as standing still, where a pace would be infinite."""


class Measure(NamedTuple):
    """How to display a quantity: conversion from the SI value, unit and decimals."""

    unit: str
    convert: Callable[[float], float | None]
    digits: int = 0
    is_pace: bool = False
    """Displayed as minutes and seconds; less is faster."""

    def number(self, value: float | None) -> str:
        """Return `24.1`, or `4:37` for a pace. The unit is left out for columns that name it once."""
        converted = None if value is None else self.convert(value)
        if converted is None:
            return "—"
        if self.is_pace:
            return f"{round(converted) // 60}:{round(converted) % 60:02}"
        return f"{round(converted, self.digits) + 0.0:,.{self.digits}f}"  # never "-0"

    def text(self, value: float | None) -> str:
        number = self.number(value)
        return number if number == "—" or not self.unit else f"{number} {self.unit}"


class Measures(NamedTuple):
    """Every measure on an activity's page, for one viewer and sport."""

    distance: Measure
    speed: Measure
    height: Measure
    temperature: Measure
    cadence: Measure
    heartrate: Measure = Measure("bpm", float)
    power: Measure = Measure("W", float)


def measures(units: Units, sport: str | None) -> Measures:
    imperial = units == "imperial"
    mile = METRES_A_MILE if imperial else 1000.0
    return Measures(
        distance=Measure("mi" if imperial else "km", lambda metres: metres / mile, 2),
        speed=_speed(imperial, sport, mile),
        height=Measure("ft", lambda metres: metres / METRES_A_FOOT) if imperial else Measure("m", float),
        temperature=Measure("°F", lambda degrees: degrees * 9 / 5 + 32) if imperial else Measure("°C", float),
        # Strava counts the steps of one leg.
        cadence=Measure("steps/min", lambda steps: steps * 2) if sport in ON_FOOT else Measure("rpm", float),
    )


def _speed(imperial: bool, sport: str | None, mile: float) -> Measure:
    if sport in IN_WATER:
        hundred = 100 * (METRES_A_YARD if imperial else 1.0)
        return Measure("/100 yd" if imperial else "/100 m", _pace(hundred), is_pace=True)
    if sport in ON_FOOT:
        return Measure("/mi" if imperial else "/km", _pace(mile), is_pace=True)
    return Measure("mph" if imperial else "km/h", lambda speed: speed * 3600 / mile, 1)


def _pace(metres: float) -> Callable[[float], float | None]:
    return lambda speed: metres / speed if speed > MIN_PACE_SPEED else None
