"""What was seen in such a world, as it happened: figures.py makes sense of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from feedzone.sandbox.limits import Meter

from .plan import DAY_S, Plan, Times


class Read(NamedTuple):
    """A read call that Strava counted; `ours`: the engine made it."""

    at: float
    calls: int
    ours: bool
    refused: bool


@dataclass
class Story:
    """An upload, from Strava's event to our database; None: that did not happen."""

    activity_id: int
    happened_at: float
    delivered_at: float | None = None
    """When the webhook answered 200."""
    detail_at: float | None = None
    streams_at: float | None = None


@dataclass
class Promise:
    """What was said of a history's end, after how many tenths of it. `athlete_id` None: of all that waits."""

    athlete_id: int | None
    tenth: int
    made_at: float
    told: float | None
    kept_at: float | None = None
    begun_at: float = 0.0


class Look(NamedTuple):
    """What waited a second before a window's end, or in its middle: jobs of each athlete's history."""

    at: float
    left: dict[int, int]


@dataclass
class Record:
    seed: int
    plan: Plan
    times: Times
    reads: list[Read] = field(default_factory=list)
    stories: dict[int, Story] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    finished: dict[int, float] = field(default_factory=dict)
    """When each athlete's history was fetched."""
    done: list[float] = field(default_factory=list)
    """When each activity, new or old, was stored whole: detail and streams."""
    lanes: Counter[str] = field(default_factory=Counter)
    """Our calls since all history was asked for, by the lane of their job."""
    crashes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Of the processor."""


class Others:
    """Somebody else with the same application. What Strava refuses them they want again on that day."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._owed = 0
        self._day = -1

    def take(self, now: float, calls: int) -> int:
        """Make so many calls, or as many as there is room for; how many that were."""
        if now // DAY_S != self._day:
            self._day, self._owed = int(now // DAY_S), 0
        usage, limits = self._meter.usage(now), self._meter.limits
        room = min(
            limits.short - usage["short"],
            limits.daily - usage["daily"],
            limits.read_short - usage["read_short"],
            limits.read_daily - usage["read_daily"],
        )
        taken = max(0, min(self._owed + calls, room))
        self._owed += calls - taken
        if taken:
            self._meter.spend(now, calls=taken)
        return taken
