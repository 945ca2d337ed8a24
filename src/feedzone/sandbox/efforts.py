"""What makes details long: efforts on segments, best efforts, similar activities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from . import totals
from .athletes import Athlete
from .history import ActivitySpec
from .motion import Motion
from .payloads import part
from .totals import Piece

DETAIL_BYTES = 77_500
"""Recorded details of runs have 77 to 79 KB, and two thirds of it are efforts on segments."""
_KNOTS = (9, 16, 5, 28, 12, 7, 40, 20)
_BEST = {
    "400m": 400, "1/2 mile": 805, "1K": 1000, "1 mile": 1609, "2 mile": 3219, "5K": 5000, "10K": 10_000,
    "15K": 15_000, "10 mile": 16_090, "20K": 20_000, "Half-Marathon": 21_097, "30K": 30_000,
    "Marathon": 42_195,
}  # fmt: skip
_PLACES = ("Bridge Sprint", "Mill Lane", "Long Drag", "Station Climb", "River Straight", "Park Loop")


def lengthen(body: dict[str, Any], spec: ActivitySpec, athlete: Athlete, motion: Motion, stride: int) -> None:
    """Fill the detail of an outdoor run, walk or ride up to the recorded size.

    A recording of less than half an hour crosses fewer segments, so it stays shorter.
    """
    if motion.lat is None or "splits_metric" not in body:
        return
    if spec.legacy_type == "Run":
        body["best_efforts"] = _best_efforts(spec, athlete, motion, stride)
        body["similar_activities"] = _similar(spec, body["average_speed"])
    size, efforts = len(msgspec.json.encode(body)), []
    for n, (a, b) in enumerate(_crossed(len(motion.t) - 1)):
        if size >= DETAIL_BYTES:
            break
        effort = _effort(spec, athlete, motion, n, totals.piece(motion, a, b, stride), (a, b))
        size += len(msgspec.json.encode(effort)) + 1
        efforts.append(effort)
    body["segment_efforts"] = sorted(efforts, key=lambda effort: effort["start_index"])


def _crossed(last: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last knot of segments, spread over the whole course."""
    seen = set()
    for n in range(last // 2):
        length = min(_KNOTS[n % len(_KNOTS)], last)
        # Multiples of the golden section never bunch up, however many of them are taken.
        first = int(n * 0.618034 % 1 * (last - length))
        if (first, length) not in seen:
            seen.add((first, length))
            yield first, first + length


def _effort(spec: ActivitySpec, athlete: Athlete, motion: Motion, number: int, piece: Piece,
            knots: tuple[int, int]) -> dict[str, Any]:  # fmt: skip
    segment = _segment(spec, athlete, motion, piece, knots)
    body = part(spec, athlete, spec.id * 4 + number, segment["name"], piece)
    body |= {
        "distance": piece.distance,
        "start_index": piece.start_index,
        "end_index": piece.end_index,
        "device_watts": motion.watts is not None,
    }
    if motion.cad:
        body["average_cadence"] = _mean(motion.cad, knots)
    if motion.watts:
        body["average_watts"] = _mean(motion.watts, knots)
    if piece.average_hr is not None:
        body |= {"average_heartrate": round(piece.average_hr, 1), "max_heartrate": piece.max_hr}
    return body | {
        "segment": segment,
        "pr_rank": None,
        "achievements": [],
        "visibility": spec.visibility,
        "kom_rank": None,
        "hidden": False,
    }


def _segment(spec: ActivitySpec, athlete: Athlete, motion: Motion, piece: Piece,
             knots: tuple[int, int]) -> dict[str, Any]:  # fmt: skip
    assert motion.lat is not None
    assert motion.lng is not None
    a, b = knots
    start, end = ([round(motion.lat[k], 6), round(motion.lng[k], 6)] for k in knots)
    place = hashlib.sha256(f"{start[0]:.3f} {start[1]:.3f} {end[0]:.3f} {end[1]:.3f}".encode()).hexdigest()
    heights = motion.alt[a : b + 1] if motion.alt else [0.0]
    steps = [_grade(motion, k) for k in range(a, b)]
    return {
        "id": int(place[:7], 16),
        "resource_state": 2,
        "name": f"{athlete.city.name} {_PLACES[int(place[7], 16) % len(_PLACES)]} {int(place[8:10], 16)}",
        "activity_type": spec.legacy_type,
        "distance": piece.distance,
        "average_grade": round(100 * piece.rise / piece.distance, 1) if piece.distance else 0.0,
        "maximum_grade": max(steps),
        "elevation_high": round(max(heights), 1),
        "elevation_low": round(min(heights), 1),
        "start_latlng": start,
        "end_latlng": end,
        "elevation_profile": None,
        "elevation_profiles": None,
        "climb_category": 0,
        "city": athlete.city.name,
        "state": athlete.city.state,
        "country": athlete.city.country,
        "private": False,
        "hazardous": False,
        "starred": False,
    }


def _grade(motion: Motion, k: int) -> float:
    along = motion.d[k + 1] - motion.d[k]
    return round(100 * (motion.alt[k + 1] - motion.alt[k]) / along, 1) if motion.alt and along > 1 else 0.0


def _mean(values: list[float], knots: tuple[int, int]) -> float:
    some = values[knots[0] : knots[1] + 1]
    return round(sum(some) / len(some), 1)


def _best_efforts(spec: ActivitySpec, athlete: Athlete, motion: Motion, stride: int) -> list[dict[str, Any]]:
    rows = []
    for n, (name, metres) in enumerate(_BEST.items()):
        fastest = _fastest(motion, metres)
        if fastest is None:
            break
        seconds, a, b = fastest
        piece = totals.piece(motion, a, b, stride)
        rows.append({
            **part(spec, athlete, spec.id + n, name, piece), "elapsed_time": seconds, "moving_time": seconds,
            "distance": metres, "pr_rank": None, "achievements": [],
            "start_index": piece.start_index, "end_index": piece.end_index,
        })  # fmt: skip
    return rows


def _fastest(motion: Motion, metres: int) -> tuple[int, int, int] | None:
    """Return the seconds of the fastest part of this length, with its first and last knot."""
    best, a = None, 0
    for b in range(1, len(motion.d)):
        while motion.d[b] - motion.d[a + 1] >= metres:
            a += 1
        if (along := motion.d[b] - motion.d[a]) >= metres:
            seconds = round((motion.t[b] - motion.t[a]) * metres / along)
            best = min(best or (seconds, a, b), (seconds, a, b))
    return best


def _similar(spec: ActivitySpec, speed: float) -> dict[str, Any]:
    speeds = [round(speed * (1 + (n - 2) / 37), 3) for n in range(1 + spec.id % 5)]
    low, high = min(speeds), max(speeds)
    middle = (low + high) / 2
    return {
        "effort_count": len(speeds),
        "average_speed": sum(speeds) / len(speeds),
        "min_average_speed": low,
        "mid_average_speed": middle,
        "max_average_speed": high,
        "pr_rank": None,
        "frequency_milestone": None,
        "trend": {
            "speeds": speeds,
            "current_activity_index": 0,
            "min_speed": low,
            "mid_speed": middle,
            "max_speed": high,
            "direction": 0,
        },
        "resource_state": 2,
    }
