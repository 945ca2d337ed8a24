"""The parts of a detailed activity that have no typed column: laps, splits, track, gear."""

from __future__ import annotations

import msgspec


class Lap(msgspec.Struct, frozen=True):
    """A lap as the device or the athlete made it. Metres, seconds, metres per second, watts."""

    name: str | None = None
    distance: float | None = None
    moving_time: int | None = None
    elapsed_time: int | None = None
    average_speed: float | None = None
    average_heartrate: float | None = None
    average_watts: float | None = None
    average_cadence: float | None = None
    total_elevation_gain: float | None = None


class Split(msgspec.Struct, frozen=True):
    """A kilometre or a mile, as Strava splits runs; the last one is the remainder."""

    split: int
    distance: float | None = None
    moving_time: int | None = None
    elapsed_time: int | None = None
    average_speed: float | None = None
    average_heartrate: float | None = None
    elevation_difference: float | None = None


class ActivityDetails(msgspec.Struct, frozen=True):
    laps: tuple[Lap, ...] = ()
    kilometres: tuple[Split, ...] = ()
    miles: tuple[Split, ...] = ()
    polyline: str | None = None
    """The full track; the typed column has the summary's, which is coarser."""
    gear_name: str | None = None
