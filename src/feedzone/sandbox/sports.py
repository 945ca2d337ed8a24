"""The figures of each sport: speed, effort, the effect of hills, and the data that a device records.

The list is open on purpose: an unknown sport is recorded like a workout, because Strava's list grows several
times a year and clients must handle new sports.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sport:
    """One sport. Speeds in m/s; `uphill`/`downhill` say how strongly a grade slows down or speeds up."""

    name: str
    legacy: str
    label: str
    speed: float = 0.0
    top_speed: float = 0.0
    uphill: float = 0.0
    downhill: float = 0.0
    cadence: float = 0.0
    effort: float = 0.6
    minutes: float = 50.0
    stop_every_min: float = 0.0
    indoor: bool = False
    power: bool = False
    gear: str = ""


SPORTS = {
    s.name: s
    for s in (
        Sport("Ride", "Ride", "Ride", 7.6, 18.0, 11.0, 6.0, 84, 0.68, 95, 22, power=True, gear="b"),
        Sport("GravelRide", "Ride", "Gravel Ride", 6.2, 15, 11, 5, 80, 0.7, 110, 25, power=True, gear="b"),
        Sport("VirtualRide", "VirtualRide", "Virtual Ride", 9.2, 13, 0, 0, 88, 0.74, 55, 0, True, True, "b"),
        Sport("Run", "Run", "Run", 3.1, 6.2, 4.5, 1.6, 84, 0.76, 48, 28, gear="g"),
        Sport("TrailRun", "Run", "Trail Run", 2.6, 5.4, 5.0, 1.3, 81, 0.78, 70, 20, gear="g"),
        Sport("Walk", "Walk", "Walk", 1.45, 2.4, 2.6, 0.5, 56, 0.42, 55, 15, gear="g"),
        Sport("Hike", "Hike", "Hike", 1.25, 2.3, 3.2, 0.4, 52, 0.52, 170, 18, gear="g"),
        Sport("Swim", "Swim", "Swim", 0.82, 1.3, 0, 0, 27, 0.66, 42, 9, True),
        Sport("NordicSki", "NordicSki", "Nordic Ski", 3.6, 11.0, 6.0, 4.5, 0, 0.72, 95, 20),
        Sport("AlpineSki", "AlpineSki", "Alpine Ski", 5.0, 19.0, 9.0, 22.0, 0, 0.5, 190, 8),
        Sport("Rowing", "Rowing", "Rowing", 3.7, 5.2, 0, 0, 26, 0.74, 34, 0, True, True),
        Sport("WeightTraining", "WeightTraining", "Weight Training", effort=0.46, minutes=45, indoor=True),
        Sport("Workout", "Workout", "Workout", effort=0.55, minutes=40, indoor=True),
    )
}

MIXES: tuple[tuple[tuple[str, int], ...], ...] = (
    (("Run", 10), ("TrailRun", 2), ("Walk", 2), ("WeightTraining", 2), ("Swim", 1)),
    (("Ride", 9), ("VirtualRide", 4), ("GravelRide", 3), ("Walk", 1), ("WeightTraining", 2)),
    (("Swim", 4), ("Ride", 5), ("Run", 6), ("VirtualRide", 3), ("WeightTraining", 1)),
    (("Hike", 5), ("NordicSki", 3), ("AlpineSki", 2), ("TrailRun", 4), ("Ride", 3)),
    (("Rowing", 6), ("Run", 3), ("WeightTraining", 4), ("Walk", 2)),
)

WINTER_ONLY = frozenset({"NordicSki", "AlpineSki"})


def sport_named(name: str) -> Sport:
    """Return the sport's figures; an unknown sport is like a workout with its own name."""
    return SPORTS.get(name) or Sport(name, "Workout", name, effort=0.55, minutes=40, indoor=True)
