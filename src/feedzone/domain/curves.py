"""Streams made small enough to be drawn: fewer samples, and no extreme of any channel is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from .track import Point

CHANNELS = ("altitude", "velocity_smooth", "heartrate", "watts", "cadence", "temp")
"""What is drawn, as Strava names it (docs/strava-api.md#streams)."""

AXES = ("time", "distance")
"""What it is drawn over: seconds and metres since the start."""

MOST = 2000
"""About as many samples as a screen has columns."""

Values = Sequence[float | None]


class Drawn(msgspec.Struct, frozen=True):
    """Samples of an activity, those that were picked; every list has one entry for each, in SI units."""

    samples: int
    """How many there were."""
    axes: dict[str, list[float]]
    """Those of AXES that there are; they never go back."""
    channels: dict[str, list[float | None]]
    track: list[Point | None]
    """Empty where no place was recorded."""


def draw(streams: Mapping[str, Any], most: int = MOST) -> Drawn:
    """What to draw of streams in the shape of Strava's answer (`key_by_type=true`)."""
    found = {name: _numbers(streams.get(name)) for name in (*AXES, *CHANNELS)}
    places = _places(streams.get("latlng"))
    samples = max(len(places), *(len(values) for values in found.values()))
    present = {name: _padded(values, samples) for name, values in found.items() if any_of(values)}
    channels = {name: present[name] for name in CHANNELS if name in present}
    track = [*places, *[None] * (samples - len(places))] if places else []
    sides = [[point and point[side] for point in track] for side in (0, 1)] if track else []
    picked = _picked([*channels.values(), *sides], samples, most)
    return Drawn(
        samples,
        {name: _rising(present[name], picked) for name in AXES if name in present},
        {name: [values[index] for index in picked] for name, values in channels.items()},
        [track[index] for index in picked] if track else [],
    )


def any_of(values: Iterable[object]) -> bool:
    return any(value is not None for value in values)


def _numbers(entry: Any) -> list[float | None]:
    """A channel's samples; what is no number is a gap."""
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
    # Some devices write 0, 0 until they have found out where they are.
    return (lat, lng) if (lat or lng) and abs(lat) <= 90 and abs(lng) <= 180 else None


def _padded(values: list[float | None], samples: int) -> list[float | None]:
    return values + [None] * (samples - len(values))


def _picked(channels: Sequence[Values], samples: int, most: int) -> list[int]:
    """Indexes of the samples to draw: of each stretch the lowest and the highest of every channel."""
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
    """An axis: what is missing, or goes back, stands where the last one stood."""
    whole = list(accumulate((value or 0.0 for value in values), max))
    return [whole[index] for index in picked]
