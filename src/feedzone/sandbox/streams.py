"""Second-by-second streams, interpolated from the knots of a motion (docs/strava-api.md#streams)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import cos, radians, sin
from typing import Any

from .motion import METRES_PER_DEGREE, Motion

KEYS = ("time", "distance", "latlng", "altitude", "velocity_smooth", "heartrate", "cadence", "watts", "temp",
        "moving", "grade_smooth")  # fmt: skip
MAX_SAMPLES = 10_000
_STRIDES = (1, 2, 5, 10, 30, 60)


def stride_for(elapsed_s: int, at_least: int = 1) -> int:
    """Return the seconds between samples: one, or more if the stream would become too long."""
    for stride in _STRIDES:
        if stride >= at_least and elapsed_s / stride < MAX_SAMPLES:
            return stride
    return _STRIDES[-1]


def build(motion: Motion, keys: set[str], stride: int) -> dict[str, list[Any]]:
    """Return the requested channels that this motion has, all equally long; always with `distance`."""
    builders: dict[str, Callable[[], list[Any]] | None] = {
        "time": lambda: [t for _, t, _ in _samples(motion, stride)],
        "distance": lambda: [round(value, 1) for value in _distance(motion, stride)],
        "latlng": (lambda: _latlng(motion, stride)) if motion.lat else None,
        "altitude": _interpolated(motion, motion.alt, stride, 1),
        "velocity_smooth": _interpolated(motion, motion.v, stride, 3) if motion.d[-1] else None,
        "heartrate": _interpolated(motion, motion.hr, stride, 0),
        "cadence": _interpolated(motion, motion.cad, stride, 0),
        "watts": _interpolated(motion, motion.watts, stride, 0),
        "temp": _interpolated(motion, motion.temp, stride, 0),
        "moving": lambda: _moving(motion, stride),
        "grade_smooth": (lambda: _grade(motion, stride)) if motion.alt else None,
    }
    selected = [key for key in KEYS if key in keys or key == "distance"]
    return {key: build_channel() for key in selected if (build_channel := builders[key]) is not None}


def mean(motion: Motion, knots: list[float], stride: int) -> float:
    """Return the mean of the stream that `build` would return for these knots, without building it."""
    total, count = knots[-1], 1
    for k in range(len(motion.t) - 1):
        span = motion.t[k + 1] - motion.t[k]
        n = -(-span // stride)
        total += n * knots[k] + (knots[k + 1] - knots[k]) / span * stride * n * (n - 1) / 2
        count += n
    return total / count


def sample_count(motion: Motion, stride: int) -> int:
    """Return the number of samples in the streams of this motion."""
    return 1 + sum(-(-(motion.t[k + 1] - motion.t[k]) // stride) for k in range(len(motion.t) - 1))


def _samples(motion: Motion, stride: int) -> Iterator[tuple[int, int, float]]:
    """Yield (segment, second, passed share of the segment) for every sample, including the end."""
    t = motion.t
    for k in range(len(t) - 1):
        span = t[k + 1] - t[k]
        for offset in range(0, span, stride):
            yield k, t[k] + offset, offset / span
    yield len(t) - 2, t[-1], 1.0


def _interpolated(motion: Motion, knots: list[float] | None, stride: int,
           digits: int) -> Callable[[], list[Any]] | None:  # fmt: skip
    if knots is None:
        return None
    values = knots

    def make() -> list[Any]:
        line = (values[k] + (values[k + 1] - values[k]) * f for k, _, f in _samples(motion, stride))
        return [round(value, digits) for value in line] if digits else [round(value) for value in line]

    return make


def _distance(motion: Motion, stride: int) -> Iterator[float]:
    """Yield the exact integral of the speed, which is linear between knots: it grows up to the total."""
    t, d, v = motion.t, motion.d, motion.v
    for k, _, f in _samples(motion, stride):
        span = t[k + 1] - t[k]
        yield d[k] + span * f * (v[k] + (v[k + 1] - v[k]) * f / 2)


def _moving(motion: Motion, stride: int) -> list[bool]:
    return [k not in motion.stopped for k, _, _ in _samples(motion, stride)]


def _grade(motion: Motion, stride: int) -> list[float]:
    assert motion.alt is not None
    rise = [b - a for a, b in zip(motion.alt, motion.alt[1:], strict=False)]
    run = [b - a for a, b in zip(motion.d, motion.d[1:], strict=False)]
    grades = [round(100 * up / along, 1) if along > 1 else 0.0 for up, along in zip(rise, run, strict=True)]
    return [grades[k] for k, _, _ in _samples(motion, stride)]


def _latlng(motion: Motion, stride: int) -> list[list[float]]:
    """Return a Hermite curve with the headings as tangents, so that the road bends without corners."""
    lat, lng, d = motion.lat, motion.lng, motion.d
    assert lat is not None
    assert lng is not None
    tangents = _tangents(motion.heading, lat[0])
    out: list[list[float]] = []
    for (k, _, _), along in zip(_samples(motion, stride), _distance(motion, stride), strict=True):
        chord = d[k + 1] - d[k]
        u = (along - d[k]) / chord if chord else 0.0
        blend, leave, arrive = u * u * (3 - 2 * u), chord * u * (1 - u) ** 2, chord * u * u * (u - 1)
        (up0, right0), (up1, right1) = tangents[k], tangents[k + 1]
        north = lat[k] + (lat[k + 1] - lat[k]) * blend + up0 * leave + up1 * arrive
        east = lng[k] + (lng[k + 1] - lng[k]) * blend + right0 * leave + right1 * arrive
        out.append([round(north, 6), round(east, 6)])
    return out


def _tangents(headings: list[float], lat: float) -> list[tuple[float, float]]:
    """Return degrees of latitude and longitude per metre travelled at each knot.

    A knot stores the heading of the segment that ends there, hence the mean with the next heading.
    """
    metres_per_degree_lng = METRES_PER_DEGREE * cos(radians(lat))
    following = [*headings[1:], headings[-1]]
    middles = [(a + b) / 2 for a, b in zip(headings, following, strict=True)]
    middles[0] = following[0]
    return [(sin(h) / METRES_PER_DEGREE, cos(h) / metres_per_degree_lng) for h in middles]
