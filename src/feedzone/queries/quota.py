"""The rate limit: windows, usage, and when the queue will be done (domain/quota/forecast.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from ..clock import TimedCache
from ..domain.quota.demand import EPOCH
from ..domain.quota.forecast import USUAL_MS, CallsLeft, ForecastInput, backfill_cost, done_at
from ..domain.quota.windows import Window, WindowName, window_start
from ..errors import NotFound
from ..ports import Clock
from ..store.engine.database import Connection, Database
from ..store.jobs import cost
from ..store.quota import call_log
from ..store.quota.budget import BudgetTable

TOP_ATHLETES = 20
CACHED_FOR = timedelta(seconds=10)
MANY_CALLS = 20_000
DAYS_A_YEAR = 365.25


class QuotaWindow(Struct, frozen=True):
    """A rate limit window: `used` of `quota` calls. It resets at `ends_at`."""

    window: WindowName
    used: int
    quota: int
    starts_at: datetime
    ends_at: datetime
    latched: Annotated[bool, Meta(description="Strava answered 429: closed until it ends")]


class SyncOutlook(Struct, frozen=True):
    """The progress of an athlete's sync, and when it will be done."""

    activities_done: int
    activities_total: Annotated[int, Meta(description="listed so far")]
    calls_needed: Annotated[int, Meta(description="0: nothing is left to fetch")]
    done_at: Annotated[
        datetime | None,
        Meta(description="null: nothing is left, or unknown: list incomplete, or quota too small"),
    ]


class QueueOutlook(Struct, frozen=True):
    """The known cost of the queue, and when it will be done."""

    calls_needed: int
    done_at: Annotated[
        datetime | None, Meta(description="null: the queue is empty, or does not fit the daily limit")
    ]


class AthleteCalls(Struct, frozen=True):
    """The number of calls for an athlete."""

    athlete_id: Annotated[int | None, Meta(description="null: no athlete, or a disconnected one")]
    calls: int


class HourCalls(Struct, frozen=True):
    """The number of calls in the hour that starts at `hour`."""

    hour: datetime
    calls: int


class Spent(Struct, frozen=True):
    """Today's (UTC) calls that count, from the call log; the last seconds may be missing."""

    calls: int
    by_lane: dict[str, int]
    by_athlete: Annotated[list[AthleteCalls], Meta(description="most calls first, at most 20")]
    by_hour: list[HourCalls]
    unexplained: Annotated[
        int, Meta(description="reads that Strava counts and the call log does not have: another program's")
    ]


class Budget(Struct, frozen=True):
    """The rate limit, and today's usage."""

    now: datetime
    windows: list[QuotaWindow]
    spent: Spent
    queue: QueueOutlook


class WholeHistory(Struct, frozen=True):
    """The cost of an athlete's full history.

    Strava does not say how long a history is before it is listed. This is an estimate: `years` at the
    rate of the stored activities. `done_at` comes after everything that is queued now.
    """

    athlete_id: int
    years: float
    held: Annotated[int, Meta(description="stored activities")]
    activities: Annotated[int, Meta(description="estimated number still to fetch; 0: complete")]
    calls: int
    waiting_before: Annotated[int, Meta(description="calls of the jobs that are queued now")]
    done_at: Annotated[datetime | None, Meta(description="null: does not fit the daily limit")]


class WhatIf(Struct, frozen=True):
    """The cost of the backfill of more `athletes`, each with `activities`.

    `done_at` comes after everything that is queued now.
    """

    athletes: int
    activities: int
    calls: int
    waiting_before: Annotated[int, Meta(description="calls of the jobs that are queued now")]
    done_at: Annotated[datetime | None, Meta(description="null: does not fit the daily limit")]


class Queue(NamedTuple):
    """The cost of the queue in total, and by athlete the calls of the sync and when it will be done."""

    total: QueueOutlook
    syncs: dict[int, tuple[int, datetime | None]]

    def sync(self, athlete_id: int, counts: dict[str, int]) -> SyncOutlook:
        """`counts`: the athlete's activities by sync status."""
        calls, done = self.syncs.get(athlete_id, (0, None))
        return SyncOutlook(counts.get("synced", 0), sum(counts.values()), calls, done)


class QuotaForecast:
    """`batch_size`: how many jobs a worker runs at once."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        budget: BudgetTable,
        *,
        batch_size: int = 10,
    ) -> None:
        self._database = database
        self._clock = clock
        self._budget = budget
        self._batch_size = batch_size
        # To add up a very long queue takes half a second, and open pages ask every second.
        self._queue: TimedCache[Queue] = TimedCache(CACHED_FOR)
        # Half a million calls of a day take half a second to add up by athlete.
        self._spent: TimedCache[Spent] = TimedCache(CACHED_FOR, lambda spent: spent.calls > MANY_CALLS)
        # Each page needs the mean duration of a call, which takes an hour of the call log to compute.
        self._mean_ms: TimedCache[float | None] = TimedCache(timedelta(minutes=1))

    async def windows(self) -> list[QuotaWindow]:
        """Return the four windows as they stand now."""
        return [
            QuotaWindow(w.name, w.used, w.quota, w.starts_at, w.ends_at, w.latched)
            for w in await self._budget.windows()
        ]

    async def forecast_input(self) -> ForecastInput:
        """Return what a forecast needs now."""
        now, windows = self._clock.now(), await self._budget.windows()
        mean_ms = await self._mean_ms.fetch(
            now, lambda: self._database.read(lambda c: call_log.mean_ms(c, now))
        )
        pace = self._batch_size * 1000 / max(1.0, mean_ms or USUAL_MS)
        return ForecastInput(now, _calls_left(windows), await self._budget.demand(), pace)

    def queue(self, connection: Connection, forecast: ForecastInput) -> Queue:
        """Return what the queue will cost, and when it will be done."""
        rows = cost.waiting(connection, forecast.now)
        syncs = [row for row in rows if row.sync_calls]
        calls = int(sum(row.calls for row in rows))
        last, *ends = done_at(forecast, [calls, *(float(row.sync_after) for row in syncs)])
        return Queue(
            QueueOutlook(calls, last if calls else None),
            {
                row.athlete_id: (int(row.sync_calls), None if row.unlisted else end)
                for row, end in zip(syncs, ends, strict=True)
            },
        )

    def cached_queue(self, connection: Connection, forecast: ForecastInput) -> Queue:
        """Return the same as `queue`, at most ten seconds old: for pages that ask every second."""
        return self._queue.get(forecast.now, lambda: self.queue(connection, forecast))

    async def budget(self) -> Budget:
        """Return the windows, and what used them today."""
        forecast, windows = await self.forecast_input(), await self.windows()
        midnight = window_start("read_day", forecast.now)
        reads = next(window.used for window in windows if window.window == "read_day")
        spent, queue = await self._database.read(
            lambda c: (
                self._spent.get(forecast.now, lambda: _spent(c, midnight, reads)),
                self.queue(c, forecast),
            )
        )
        return Budget(forecast.now, windows, spent, queue.total)

    async def whole_history(self, athlete_id: int, years: float) -> WholeHistory:
        """Return what `years` of an athlete's history would cost, and when they would be stored.

        Raises NotFound unless the athlete is connected.
        """
        forecast = await self.forecast_input()
        pace, queue = await self._database.read(
            lambda c: (cost.pace(c, athlete_id, forecast.now), self.queue(c, forecast))
        )
        if pace is None:
            raise NotFound(f"athlete {athlete_id} is not connected")
        more = 0 if pace.a_day is None else max(0, round(pace.a_day * DAYS_A_YEAR * years) - pace.stored)
        calls = backfill_cost(more, pace.stored) if more else 0
        before = queue.total.calls_needed
        (done,) = done_at(forecast, [before + calls])
        return WholeHistory(athlete_id, years, pace.stored, more, calls, before, done)

    async def what_if(self, athletes: int, activities: int) -> WhatIf:
        """Return what `athletes` more, each with `activities`, would cost, and when they would be done."""
        forecast = await self.forecast_input()
        queue = await self._database.read(lambda c: self.queue(c, forecast))
        calls, before = athletes * backfill_cost(activities), queue.total.calls_needed
        (done,) = done_at(forecast, [before + calls])
        return WhatIf(athletes, activities, calls, before, done)


def _spent(connection: Connection, midnight: datetime, reads: int) -> Spent:
    by_lane: Counter[str] = Counter()
    by_hour: Counter[datetime] = Counter()
    for quarter, lane, calls in call_log.spent(connection, midnight):
        by_lane[lane] += calls
        by_hour[EPOCH + quarter // 4 * timedelta(hours=1)] += calls
    athletes = call_log.spent_by_athlete(connection, midnight, TOP_ATHLETES)
    return Spent(
        by_lane.total(),
        dict(by_lane.most_common()),
        [AthleteCalls(row.athlete_id, row.calls) for row in athletes],
        [HourCalls(hour, calls) for hour, calls in by_hour.items()],
        max(0, reads - by_lane.total()),
    )


def _calls_left(windows: Sequence[Window]) -> CallsLeft:
    """Reads count in all four windows: the tighter window of each length limits them."""
    by_name = {window.name: window for window in windows}
    left = {name: 0 if w.latched else max(0, w.quota - w.used) for name, w in by_name.items()}
    return CallsLeft(
        min(left["overall_15min"], left["read_15min"]),
        min(by_name["overall_15min"].quota, by_name["read_15min"].quota),
        min(left["overall_day"], left["read_day"]),
        min(by_name["overall_day"].quota, by_name["read_day"].quota),
        by_name["read_day"].used - by_name["read_day"].backfill_calls,
    )
