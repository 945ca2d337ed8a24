"""The overview page."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from ..clock import TimedCache
from ..ports import Clock
from ..store import events
from ..store.engine.database import Connection, Database
from ..store.reads import dashboard
from .athletes import Athlete, athletes_from, names_of
from .events import ActivitySummary, EventSummary, summaries_from
from .paging import first_id
from .quota import Budget, QuotaForecast
from .rows import from_row
from .status import Pulse, StatusQueries

DAY = timedelta(hours=24)
CACHED_FOR = timedelta(seconds=10)
"""Open pages ask every second, and a day's events and calls take long to add up."""

ROWS = 12
LATEST = 8
SAMPLE = 2000


class DeliveryStats(Struct, frozen=True):
    """The events of the last 24 hours. Times are those of the newest completed events."""

    received: int
    completed: int
    failed: int
    still_open: int
    median_s: float | None
    slow_s: float | None
    """The 95th percentile."""

    @property
    def success(self) -> float | None:
        """The share of completed events among all that ended."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else None


class Overview(Struct, frozen=True):
    """The overview."""

    pulse: Pulse
    active: int
    complete: int
    verified_at: datetime | None
    feed: list[EventSummary]
    latest: list[ActivitySummary]
    names: dict[int, str]
    syncing: list[Athlete]
    delivery: DeliveryStats
    budget: Budget


class DashboardQueries:
    def __init__(self, database: Database, clock: Clock, status: StatusQueries, quota: QuotaForecast) -> None:
        self._database = database
        self._clock = clock
        self._status = status
        self._quota = quota
        self._delivery: TimedCache[DeliveryStats] = TimedCache(CACHED_FOR)
        self._budget: TimedCache[Budget] = TimedCache(CACHED_FOR)

    async def overview(self) -> Overview:
        pulse = await self._status.pulse()
        budget = await self._budget.fetch(pulse.now, self._quota.budget)
        forecast = await self._quota.forecast_input()

        def body(connection: Connection) -> Overview:
            completeness = dashboard.completeness(connection)
            queue = self._quota.cached_queue(connection, forecast)
            rows = events.listing(connection, status=None, limit=ROWS, before_id=None)
            latest = [from_row(row, ActivitySummary) for row in dashboard.latest(connection, LATEST)]
            return Overview(
                pulse,
                completeness.active,
                completeness.complete,
                completeness.verified_at,
                summaries_from(connection, rows),
                latest,
                names_of(connection, (activity.athlete_id for activity in latest)),
                athletes_from(connection, dashboard.syncing(connection, ROWS), queue, pulse.now),
                self._delivery.get(pulse.now, lambda: _delivery_stats(connection, pulse.now)),
                budget,
            )

        return await self._database.read(body)


def _delivery_stats(connection: Connection, now: datetime) -> DeliveryStats:
    first = first_id(now - DAY)
    by_status = dashboard.outcomes_since(connection, first)
    durations = sorted(dashboard.durations_since(connection, first, SAMPLE))
    return DeliveryStats(
        sum(by_status.values()),
        by_status.get("completed", 0),
        by_status.get("failed", 0),
        by_status.get("pending", 0) + by_status.get("processing", 0),
        durations[len(durations) // 2] if durations else None,
        durations[min(len(durations) - 1, len(durations) * 19 // 20)] if durations else None,
    )
