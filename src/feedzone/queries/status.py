"""The state of the installation: pulse and status, and the report of the health page."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from msgspec import Meta, Struct

from ..clock import TimedCache
from ..domain.athlete import seats_of
from ..domain.event import Refusals
from ..domain.job import Lane
from ..ports import Clock
from ..store import athletes, events, subscriptions, token_keys, undispatched, unknown_owners
from ..store.engine.database import Connection, Database, Row
from ..store.reads import dashboard, health, inactivity
from ..store.reads import jobs as job_lists
from .athletes import full_name
from .quota import CACHED_FOR, QueueOutlook, QuotaForecast, QuotaWindow
from .rows import age_s

MANY_EVENTS = 100_000
UNKNOWN_OWNERS = 100
ATHLETES_ON_PAGE = 50


class Subscription(Struct, frozen=True):
    """The stored push subscription."""

    id: int
    callback_url: str
    active: bool
    created_at: datetime


class UnknownOwner(Struct, frozen=True):
    """An unconnected athlete with events."""

    owner_id: int
    events: int
    last_event_at: datetime


class Pulse(Struct, frozen=True, kw_only=True):
    """The signs of health; cheap enough to query every second."""

    now: datetime
    athletes: Annotated[dict[str, int], Meta(description="by status")]
    jobs: Annotated[dict[str, int], Meta(description="by state")]
    dead_letters: int
    events_set_aside: Annotated[int, Meta(description="events that could not be turned into jobs")] = 0
    oldest_due_s: Annotated[float | None, Meta(description="s since the longest overdue job was due")]
    subscription: Subscription | None
    last_event_at: datetime | None
    quota: list[QuotaWindow]
    polling: Annotated[bool, Meta(description="there is no push subscription: Strava is polled instead")]
    paused_since: Annotated[datetime | None, Meta(description="Strava has switched the application off")]
    failing_since: Annotated[datetime | None, Meta(description="all calls to Strava fail since then")]
    probe_at: Annotated[datetime | None, Meta(description="when one call may test whether Strava is back")]
    pause_reason: str | None
    unannounced: Annotated[int, Meta(description="activities of the last 24 hours without an event")]
    quiet_sweeps: Annotated[int, Meta(description="reconciliations that found such activities")]
    quiet_athletes: Annotated[int, Meta(description="athletes who upload without events")]
    unreadable_athletes: Annotated[int, Meta(description="athletes whose tokens lack their key")]
    open_conflicts: int
    leaves_at: Annotated[datetime | None, Meta(description="the next deadline of an athlete who leaves")]
    refusals: Annotated[Refusals | None, Meta(description="deliveries answered 503 and not stored yet")]
    lost_deliveries: Annotated[int, Meta(description="athletes to compare because their events were lost")]
    lost_since: datetime | None
    leader: Annotated[str | None, Meta(description="the process that runs the recurring duties")]
    leader_since: datetime | None
    leaderless_since: Annotated[datetime | None, Meta(description="no process runs the recurring duties")]
    seats_used: Annotated[int, Meta(description="athletes that Strava counts as connected")]
    seats: Annotated[int | None, Meta(description="the number that Strava allows; null: not known")]


class Status(Pulse, frozen=True, kw_only=True):
    """The pulse, with events and queue."""

    events: Annotated[dict[str, int], Meta(description="by status")]
    queue_lag_s: Annotated[
        float | None, Meta(description="s since the oldest event whose object is not up to date")
    ]
    queue: QueueOutlook
    unknown_owners: list[UnknownOwner]
    forged_suspects: Annotated[int, Meta(description="claims of events that Strava denied")]


class DisconnectedAthlete(Struct, frozen=True):
    """An athlete that must connect again."""

    id: int
    name: str
    status: str
    reason: str | None
    leaves_at: datetime | None


class LaneDepth(Struct, frozen=True):
    lane: str
    jobs: int
    since: datetime


class HealthReport(Struct, frozen=True):
    """The health page."""

    pulse: Pulse
    lost: list[DisconnectedAthlete]
    lanes: list[LaneDepth]
    database: str
    answered_ms: float
    clock_off_s: float | None
    """The difference between the database's clock and ours; null: it has no clock of its own."""


class StatusQueries:
    """`seats`: the athletes that Strava allows the application; None: not configured.

    `key_ids`: the keys of this process, by which it knows which tokens it cannot decrypt; None: not known.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        quota: QuotaForecast,
        *,
        seats: int | None = None,
        refusals: Callable[[], Refusals | None] = lambda: None,
        key_ids: frozenset[str] | None = None,
    ) -> None:
        self._refusals = refusals
        self._database = database
        self._clock = clock
        self._quota = quota
        self._seats = seats
        self._key_ids = key_ids
        # Athletes stay quiet for days, and counting them reads all athletes.
        self._quiet_athletes: TimedCache[int] = TimedCache(timedelta(minutes=1))
        self._unreadable: TimedCache[int] = TimedCache(timedelta(minutes=1))
        # To count millions of events takes a third of a second.
        self._events: TimedCache[dict[str, int]] = TimedCache(
            CACHED_FOR, lambda counts: sum(counts.values()) > MANY_EVENTS
        )

    async def stamp(self) -> str:
        """Return a value that differs when something was committed meanwhile."""
        return await self._database.data_version()

    async def pulse(self) -> Pulse:
        now, windows = self._clock.now(), await self._quota.windows()
        return await self._database.read(lambda c: Pulse(**self._pulse(c, now, windows)))

    async def get(self) -> Status:
        now, windows = self._clock.now(), await self._quota.windows()
        forecast = await self._quota.forecast_input()

        def body(connection: Connection) -> Status:
            unknown = unknown_owners.listing(connection, UNKNOWN_OWNERS)
            return Status(
                **self._pulse(connection, now, windows),
                events=self._events.get(now, lambda: events.counts(connection)),
                queue_lag_s=age_s(events.oldest_open(connection), now),
                queue=self._quota.queue(connection, forecast).total,
                unknown_owners=[UnknownOwner(row.athlete_id, row.events, row.last_at) for row in unknown],
                forged_suspects=events.rejected_count(connection),
            )

        return await self._database.read(body)

    async def seats(self) -> tuple[int, int | None]:
        """Return how many athletes Strava counts as connected, and how many it allows; None: not known."""
        used = await self._database.read(athletes.seats_used)
        return used, seats_of(self._seats, used)

    async def health_report(self) -> HealthReport:
        pulse = await self.pulse()

        def body(connection: Connection) -> tuple[Any, ...]:
            started = time.perf_counter()
            name, its_time = dashboard.server(connection)
            elapsed_ms = (time.perf_counter() - started) * 1000
            lost = [_disconnected(row) for row in dashboard.without_access(connection, ATHLETES_ON_PAGE)]
            lanes = [
                LaneDepth(Lane(row.priority).name.lower(), row.jobs, row.since)
                for row in dashboard.lanes(connection)
            ]
            return lost, lanes, name, elapsed_ms, its_time

        lost, lanes, name, elapsed_ms, its_time = await self._database.read(body)
        off_s = None if its_time is None else (its_time - self._clock.now()).total_seconds()
        return HealthReport(pulse, lost, lanes, name, elapsed_ms, off_s)

    def _count_unreadable(self, connection: Connection) -> int:
        if self._key_ids is None:
            return 0
        by_key = token_keys.athletes_by_key(connection)
        return sum(number for key_id, number in by_key.items() if key_id not in self._key_ids)

    def _pulse(self, connection: Connection, now: datetime, windows: list[QuotaWindow]) -> dict[str, Any]:
        used = athletes.seats_used(connection)
        by_state = job_lists.counts(connection)
        return {
            "now": now,
            "athletes": athletes.counts(connection),
            "jobs": by_state,
            "dead_letters": by_state.get("dead", 0),
            "events_set_aside": undispatched.count_set_aside(connection),
            "oldest_due_s": age_s(_longest_waiting(connection, now), now),
            "subscription": _subscription(connection),
            "refusals": self._refusals(),
            "last_event_at": events.last_received(connection),
            "quota": windows,
            "seats_used": used,
            "seats": seats_of(self._seats, used),
            "unreadable_athletes": self._unreadable.get(now, lambda: self._count_unreadable(connection)),
            "quiet_athletes": self._quiet_athletes.get(now, lambda: inactivity.quiet_count(connection, now)),
            **health.signs(connection, now)._asdict(),
        }


def _longest_waiting(connection: Connection, now: datetime) -> datetime | None:
    """Return since when the longest overdue job, or event without a job, waits."""
    waiting = job_lists.oldest_due(connection, now), undispatched.oldest(connection)
    return min((at for at in waiting if at is not None), default=None)


def _subscription(connection: Connection) -> Subscription | None:
    """Return the newest subscription, an active one before all others."""
    rows = subscriptions.listing(connection)
    row = max(rows, key=lambda row: (row.is_active, row.created_at), default=None)
    return row and Subscription(row.subscription_id, row.callback_url, row.is_active, row.created_at)


def _disconnected(row: Row[Any]) -> DisconnectedAthlete:
    return DisconnectedAthlete(row.id, full_name(row), row.status, row.status_reason, row.leaves_at)
