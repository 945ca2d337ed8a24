"""The totals of an activity and of its parts, for summaries, laps, splits and zones."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from . import polyline, streams
from .motion import Motion


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an activity, i.e. a lap or a split: sample indices, seconds, metres, beats per minute."""

    start_index: int
    end_index: int
    start_s: int
    elapsed_s: int
    moving_s: int
    distance: float
    rise: float
    gain: float
    max_speed: float
    average_hr: float | None
    max_hr: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of an activity, which no later edit changes."""

    distance: float
    moving_s: int
    elapsed_s: int
    gain: float = 0.0
    max_speed: float = 0.0
    elev_high: float | None = None
    elev_low: float | None = None
    start: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    average_cadence: float | None = None
    average_temp: int | None = None
    average_hr: float | None = None
    max_hr: float | None = None
    average_watts: float | None = None
    max_watts: int | None = None
    weighted_watts: int | None = None
    kilojoules: float | None = None
    summary_polyline: str = ""


def total(motion: Motion, stride: int) -> Totals:
    """Return the totals of a motion; every number equals the one computed from its streams."""

    def mean(knots: list[float] | None) -> float | None:
        return round(streams.mean(motion, knots, stride), 1) if knots else None

    temp, watts, alt = mean(motion.temp), mean(motion.watts), motion.alt
    path = list(zip(motion.lat or (), motion.lng or (), strict=True))
    step = max(1, len(path) // 90)
    return Totals(
        distance=round(motion.d[-1], 1),
        moving_s=motion.moving_s,
        elapsed_s=motion.t[-1],
        gain=round(_gain(alt), 1) if alt else 0.0,
        max_speed=round(max(motion.v), 3),
        elev_high=round(max(alt), 1) if alt else None,
        elev_low=round(min(alt), 1) if alt else None,
        start=[round(value, 6) for value in path[0]] if path else [],
        end=[round(value, 6) for value in path[-1]] if path else [],
        average_cadence=mean(motion.cad),
        average_temp=round(temp) if temp is not None else None,
        average_hr=mean(motion.hr),
        max_hr=float(round(max(motion.hr))) if motion.hr else None,
        average_watts=watts,
        max_watts=round(max(motion.watts)) if motion.watts else None,
        weighted_watts=_weighted_watts(motion.watts) if motion.watts else None,
        kilojoules=round(watts * motion.t[-1] / 1000, 1) if watts is not None else None,
        summary_polyline=polyline.encode([*path[:-1:step], path[-1]]) if path else "",
    )


def full_polyline(motion: Motion) -> str:
    """Return the detailed polyline, with every knot."""
    return polyline.encode(zip(motion.lat or (), motion.lng or (), strict=True))


def split_by_distance(motion: Motion, metres: float, stride: int) -> list[Piece]:
    """Cut at the knot closest to each multiple of `metres`; Strava's splits are not exact either."""
    cuts, goal = [0], metres
    while goal < motion.d[-1]:
        at = min(bisect_right(motion.d, goal), len(motion.d) - 1)
        # Knots are ten seconds apart: take the closer one.
        at -= 1 if goal - motion.d[at - 1] < motion.d[at] - goal and at - 1 > cuts[-1] else 0
        if at > cuts[-1]:
            cuts.append(at)
        goal += metres
    if cuts[-1] != len(motion.t) - 1:
        cuts.append(len(motion.t) - 1)
    return [piece(motion, a, b, stride) for a, b in pairwise(cuts)]


def single_lap(motion: Motion, stride: int) -> Piece:
    """Return the activity as a single lap."""
    return piece(motion, 0, len(motion.t) - 1, stride)


def time_in_zones(values: list[float], seconds: list[int], bounds: list[float]) -> list[float]:
    """Return the seconds spent between consecutive bounds, by the knots; the last zone is open."""
    zones = [0.0] * len(bounds)
    for k in range(len(values) - 1):
        zones[max(0, bisect_right(bounds, values[k]) - 1)] += seconds[k + 1] - seconds[k]
    return zones


def piece(motion: Motion, a: int, b: int, stride: int) -> Piece:
    """Return the part between two knots."""
    alt, hr = motion.alt, motion.hr
    stopped_s = sum(motion.t[k + 1] - motion.t[k] for k in range(a, b) if k in motion.stopped)
    beats = hr[a : b + 1] if hr else None
    elapsed = motion.t[b] - motion.t[a]
    return Piece(
        start_index=motion.t[a] // stride,
        end_index=-(-motion.t[b] // stride),
        start_s=motion.t[a],
        elapsed_s=elapsed,
        moving_s=elapsed - stopped_s,
        distance=round(motion.d[b] - motion.d[a], 1),
        rise=round(alt[b] - alt[a], 1) if alt else 0.0,
        gain=round(_gain(alt[a : b + 1]), 1) if alt else 0.0,
        max_speed=round(max(motion.v[a : b + 1]), 3),
        average_hr=sum(beats) / len(beats) if beats else None,
        max_hr=float(round(max(beats))) if beats else None,
    )


def _gain(alt: list[float]) -> float:
    return sum(b - a for a, b in pairwise(alt) if b > a)


def _weighted_watts(watts: list[float]) -> int:
    rolling = [sum(watts[max(0, k - 2) : k + 1]) / min(3, k + 1) for k in range(len(watts))]
    fourth: float = sum(value**4 for value in rolling) / len(rolling)
    return round(float(fourth**0.25))
