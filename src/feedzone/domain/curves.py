"""Downsample streams for charts, without losing an extreme of any channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from .track import Point

CHANNELS = ("altitude", "velocity_smooth", "heartrate", "watts", "cadence", "temp")
"""The channels that charts show, by Strava's names (docs/strava-api.md#streams)."""

AXES = ("time", "distance")
"""The horizontal axes: seconds and metres since the start."""

MAX_SAMPLES = 2000
"""About the number of pixel columns of a screen."""

Values = Sequence[float | None]


class Curves(msgspec.Struct, frozen=True):
    """The selected samples of an activity, in SI units; each list has one entry for each of them."""

    samples: int
    """The number of samples before the selection."""
    axes: dict[str, list[float]]
    """The recorded ones of AXES; their values never decrease."""
    channels: dict[str, list[float | None]]
    track: list[Point | None]
    """Empty when no position was recorded."""


def downsample(streams: Mapping[str, Any], most: int = MAX_SAMPLES) -> Curves:
    """Return at most about `most` samples of streams, given as Strava sends them (`key_by_type=true`)."""
    recorded = {name: _numbers(streams.get(name)) for name in (*AXES, *CHANNELS)}
    places = _places(streams.get("latlng"))
    samples = max(len(places), *(len(values) for values in recorded.values()))
    present = {name: _padded(values, samples) for name, values in recorded.items() if any_of(values)}
    channels = {name: present[name] for name in CHANNELS if name in present}
    track = [*places, *[None] * (samples - len(places))] if places else []
    sides = [[point and point[side] for point in track] for side in (0, 1)] if track else []
    picked = _picked([*channels.values(), *sides], samples, most)
    return Curves(
        samples,
        {name: _rising(present[name], picked) for name in AXES if name in present},
        {name: [values[index] for index in picked] for name, values in channels.items()},
        [track[index] for index in picked] if track else [],
    )


def any_of(values: Iterable[object]) -> bool:
    return any(value is not None for value in values)


def _numbers(entry: Any) -> list[float | None]:
    """Return a channel's samples; a value that is not a number is a gap."""
    data = entry.get("data") if isinstance(entry, Mapping) else None
    return [value if type(value) in (int, float) else None for value in data or ()]


def _places(entry: Any) -> list[Point | None]:
    data = entry.get("data") if isinstance(entry, Mapping) else None
    places = [_place(value) for value in data or ()]
    return places if any_of(places) else []


def _place(value: Any) -> Point | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    lat, lng = value
    if not isinstance(lat, (int, float)) or not isinstance(lng, (int, float)):
        return None
    # Some devices write 0, 0 until they have a position.
    return (lat, lng) if (lat or lng) and abs(lat) <= 90 and abs(lng) <= 180 else None


def _padded(values: list[float | None], samples: int) -> list[float | None]:
    return values + [None] * (samples - len(values))


def _picked(channels: Sequence[Values], samples: int, most: int) -> list[int]:
    """Return the indexes to draw: in each stretch, the lowest and the highest sample of each channel."""
    if samples <= most:
        return list(range(samples))
    stretches = max(1, most // (2 * len(channels) + 1))
    picked = {0, samples - 1}
    for number in range(stretches):
        first, end = samples * number // stretches, samples * (number + 1) // stretches
        picked.add(first)
        for values in channels:
            known = [index for index in range(first, end) if values[index] is not None]
            if known:
                of = values.__getitem__
                picked |= {min(known, key=of), max(known, key=of)}  # type: ignore[arg-type]
    return sorted(picked)


def _rising(values: Values, picked: Sequence[int]) -> list[float]:
    """Return an axis that never decreases: a missing or smaller value repeats the largest so far."""
    rising = list(accumulate((value or 0.0 for value in values), max))
    return [rising[index] for index in picked]
