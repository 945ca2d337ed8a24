"""Changes of a recording after its upload: better heights, a crop, a lost channel, a hidden map."""

from __future__ import annotations

from typing import Any

from .history import ActivitySpec
from .motion import Motion

CHANNELS = {"heartrate": "hr", "cadence": "cad", "watts": "watts", "temp": "temp", "altitude": "alt"}
"""The channels that an activity can lose, each with its list of knots."""


def alter(spec: ActivitySpec, changes: dict[str, Any], now: float) -> None:
    """Change the recording: `minutes`, `climb` (a factor of all heights), `lost` (channels), `map_hidden`.

    Strava makes the streams again, which takes a while (`Faults.stream_delay_s`). It sends no event.
    """
    for name, value in changes.items():
        if name == "minutes" and _is_number(value) and 0 < value * 60 <= spec.elapsed:
            spec.elapsed = max(60, int(value * 60))
        elif name == "climb" and _is_number(value) and value >= 0:
            spec.climb = float(value)
        elif name == "lost" and isinstance(value, list | tuple) and set(value) <= CHANNELS.keys():
            spec.lost = tuple(value)
        elif name == "map_hidden" and isinstance(value, bool):
            spec.map_hidden = value
        else:
            raise ValueError(f"a recording does not take {name} {value!r}")
    spec.streams_since = now


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_altered(motion: Motion, spec: ActivitySpec) -> Motion:
    """Return the motion as Strava shows it now; it may change the one that it is given."""
    if motion.alt is not None:
        motion.alt = [motion.alt[0] + (height - motion.alt[0]) * spec.climb for height in motion.alt]
    for channel in spec.lost:
        setattr(motion, CHANNELS[channel], None)
    if spec.map_hidden:
        motion.lat = motion.lng = None
    return motion
