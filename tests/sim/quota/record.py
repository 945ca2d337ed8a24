"""The observations of the world of the rate limit. figures.py evaluates them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from feedzone.sandbox.limits import Meter

from .plan import DAY_S, Plan, Times


class Read(NamedTuple):
    """Read calls that Strava counted. `own`: the engine made them."""

    at: float
    calls: int
    own: bool
    refused: bool


@dataclass
class Story:
    """The times of an upload, from Strava's event to our database. None: it did not happen."""

    activity_id: int
    happened_at: float
    delivered_at: float | None = None
    """When the webhook answered 200."""
    detail_at: float | None = None
    streams_at: float | None = None


@dataclass
class Prediction:
    """A forecast of a backfill's end, made after `tenth` tenths of it. `athlete_id` None: the whole queue."""

    athlete_id: int | None
    tenth: int
    made_at: float
    expected_at: float | None
    ended_at: float | None = None
    begun_at: float = 0.0


class Look(NamedTuple):
    """The number of backfill jobs by athlete, a second before a window's end or its middle."""

    at: float
    left: dict[int, int]


@dataclass
class Record:
    """All observations of one world. Times are epoch seconds."""

    seed: int
    plan: Plan
    times: Times
    reads: list[Read] = field(default_factory=list)
    stories: dict[int, Story] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    finished: dict[int, float] = field(default_factory=dict)
    """The end of each athlete's backfill."""
    done: list[float] = field(default_factory=list)
    """The times at which activities, new or old, had both detail and streams."""
    lanes: Counter[str] = field(default_factory=Counter)
    """Our calls since the request of the backfills, by lane."""
    crashes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """The CPU time of the run."""


class Others:
    """Another program with the same application. It repeats refused calls until the end of their day."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._owed = 0
        self._day = -1

    def take(self, now: float, calls: int) -> int:
        """Make these calls and the owed ones, as far as the limits allow. Return the number made."""
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
