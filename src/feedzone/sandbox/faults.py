"""The faults of Strava and of the network that a caller can switch on; all are off at first.

Rates are probabilities per request or per delivery attempt. The random generator is seeded by the world, so
the same sequence of requests meets the same faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from random import Random
from typing import Any, Literal, get_args

Kind = Literal["error_500", "html_502", "status_597", "reset_before", "reset_after", "timeout_after"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ConnectionDroppedError(Exception):
    """The connection broke without a response; `acted` says whether the request took effect."""

    def __init__(self, kind: Literal["reset", "timeout"], acted: bool) -> None:
        super().__init__(f"connection {kind} {'after' if acted else 'before'} acting")
        self.kind = kind
        self.acted = acted


@dataclass(slots=True)
class Faults:
    """The switches. Names of durations in seconds end in `_s`; every other number is a probability."""

    error_500: float = 0.0
    html_502: float = 0.0
    status_597: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    timeout_after: float = 0.0
    slow: float = 0.0
    slow_s: float = 5.0
    token_calls_too: bool = True
    event_drop: float = 0.0
    event_duplicate: float = 0.0
    event_delay: float = 0.0
    event_delay_s: float = 120.0
    event_reorder_s: float = 0.0
    stream_delay_s: float = 0.0
    visible_delay_s: float = 0.0
    photo_delay_s: float = 0.0
    stray_404: float = 0.0
    stray_404_s: float = 900.0
    poison: set[int] = field(default_factory=set)
    inactive: bool = False

    def request_fault(self, rng: Random) -> Kind | None:
        """Return the fault that this request meets, if any; one random number decides among all kinds."""
        roll = rng.random()
        for kind in KINDS:
            rate: float = getattr(self, kind)
            if roll < rate:
                return kind
            roll -= rate
        return None

    def slowness(self, rng: Random) -> float:
        """Return the seconds to wait before the response to this request."""
        return self.slow_s if self.slow and rng.random() < self.slow else 0.0

    def delivery_delays(self, rng: Random) -> list[float]:
        """Return one delay in seconds per copy of an event to deliver; none if the event is lost."""
        if rng.random() < self.event_drop:
            return []
        delays = [rng.uniform(0, self.event_reorder_s)]
        if rng.random() < self.event_delay:
            delays[0] += rng.uniform(0, self.event_delay_s)
        if rng.random() < self.event_duplicate:
            delays.append(delays[0] + rng.uniform(0.5, 90))
        return delays

    def change(self, values: dict[str, Any]) -> None:
        """Set switches by name. Raise ValueError for an unknown name or a value of the wrong type."""
        names = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in names:
                raise ValueError(f"no fault is called {name!r}; there are {', '.join(sorted(names))}")
            setattr(self, name, _checked(name, getattr(self, name), value))

    def as_dict(self) -> dict[str, Any]:
        """Return the switches as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"poison": sorted(self.poison)}


def _checked(name: str, old: object, value: object) -> object:
    if isinstance(old, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(old, set):
        if isinstance(value, list | set) and all(isinstance(v, int) for v in value):
            return set(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    expected = {bool: "true or false", set: "a list of ids"}.get(type(old), "a number that is not negative")
    raise ValueError(f"{name} takes {expected}")
