"""What pages show, beyond what views.py has: plain values."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from .core import Athlete, Attempt, Event, Job, Pulse
from .quota import Budget


class Brief(Struct, frozen=True):
    """What a line about an activity says."""

    id: int
    athlete_id: int
    name: str | None
    sport_type: str | None
    distance: float | None
    moving_time: int | None
    start_date: datetime | None
    sync_status: str
    last_sync_error: str | None
    last_fetched_at: datetime | None
    operator_may_see: bool
    """Whether the athlete has agreed to that."""


class Told(Struct, frozen=True):
    """An event and what became of it."""

    event: Event
    athlete: str | None
    activity: Brief | None
    can_retry: bool = False

    @property
    def took_s(self) -> float | None:
        """From its receipt to its end."""
        done = self.event.processed_at
        return None if done is None else max(0.0, (done - self.event.created_at).total_seconds())

    @property
    def way_s(self) -> float:
        """From what Strava says it happened to its receipt; Strava counts whole seconds."""
        return max(0.0, self.event.created_at.timestamp() - self.event.event_time)


class ToldPage(Struct, frozen=True):
    items: list[Told]
    next_cursor: str | None = None


class Delivery(Struct, frozen=True):
    """The events of the last day. Times are of the newest ones that are done."""

    received: int
    completed: int
    failed: int
    still_open: int
    median_s: float | None
    slow_s: float | None
    """Nineteen of twenty took no longer."""

    @property
    def success(self) -> float | None:
        """Of the events that came to an end, how many to a good one."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else None


class Front(Struct, frozen=True):
    """The overview."""

    pulse: Pulse
    active: int
    complete: int
    verified_at: datetime | None
    feed: list[Told]
    latest: list[Brief]
    names: dict[int, str]
    syncing: list[Athlete]
    delivery: Delivery
    budget: Budget


class Lost(Struct, frozen=True):
    """An athlete who must connect again."""

    id: int
    name: str
    status: str
    reason: str | None


class LaneDepth(Struct, frozen=True):
    lane: str
    jobs: int
    since: datetime


class Vitals(Struct, frozen=True):
    """The health page."""

    pulse: Pulse
    lost: list[Lost]
    lanes: list[LaneDepth]
    database: str
    answered_ms: float
    clock_off_s: float | None
    """How far the database's clock is from ours; null: it has none of its own."""


class DeadLetter(Struct, frozen=True):
    job: Job
    athlete: str | None
    attempts: list[Attempt]


class Cause(Struct, frozen=True):
    """Dead letters of one class of failure: how many, and the latest of them."""

    error_class: str
    count: int
    letters: list[DeadLetter]
    passes: bool
    """The failure passes by itself: each letter is tried again when its job falls due."""


class Leaving(Struct, frozen=True):
    """What disconnecting an athlete removes, by table."""

    athlete: Athlete
    rows: dict[str, int]
