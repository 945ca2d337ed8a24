"""Read models of the rate limit: what spent it, and when what waits will be done (domain/forecast.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ..clock import is_recent
from ..domain.quota.forecast import USUAL_MS, Outlook, Rooms, done_at, sync_calls
from ..domain.quota.windows import Window, window_start
from ..errors import NotFound
from ..ports import Clock
from ..store.engine.database import Connection, Database
from ..store.jobs import cost
from ..store.quota import call_log
from ..store.quota.budget import BudgetTable
from .schemas.quota import (
    AthleteCalls,
    Budget,
    HourCalls,
    QueueOutlook,
    QuotaWindow,
    Spent,
    SyncOutlook,
    WhatIf,
    WholeHistory,
)

TOP = 20
TIMED_FOR = timedelta(minutes=1)
"""The journal of an hour is not read for every look at a page."""

GLANCED_FOR = timedelta(seconds=10)

DAYS_A_YEAR = 365.25


class Queue(NamedTuple):
    """What waits: in all, and by athlete the calls of the sync and when it will be done."""

    whole: QueueOutlook
    syncs: dict[int, tuple[int, datetime | None]]

    def sync(self, athlete_id: int, counted: dict[str, int]) -> SyncOutlook:
        """`counted`: the athlete's activities by sync status."""
        calls, done = self.syncs.get(athlete_id, (0, None))
        return SyncOutlook(counted.get("synced", 0), sum(counted.values()), calls, done)


class Foresight:
    """`batch_size` is how many jobs a worker runs at once."""

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
        self._glanced: tuple[datetime, Queue] | None = None
        self._timed: tuple[datetime, float | None] | None = None

    async def quota(self) -> list[QuotaWindow]:
        """The four windows as they stand now."""
        return [
            QuotaWindow(w.name, w.used, w.quota, w.starts_at, w.ends_at, w.latched)
            for w in await self._budget.windows()
        ]

    async def outlook(self) -> Outlook:
        """What forecasts are made of now."""
        now, windows = self._clock.now(), await self._budget.windows()
        pace = self._batch_size * 1000 / max(1.0, await self._mean_ms(now) or USUAL_MS)
        return Outlook(now, _rooms(windows), await self._budget.demand(), pace)

    async def _mean_ms(self, now: datetime) -> float | None:
        if self._timed is None or not is_recent(self._timed[0], now, TIMED_FOR):
            self._timed = now, await self._database.read(lambda c: call_log.mean_ms(c, now))
        return self._timed[1]

    def queue(self, connection: Connection, outlook: Outlook) -> Queue:
        """What waits, and when it will be done."""
        rows = cost.waiting(connection, outlook.now)
        syncs = [row for row in rows if row.sync_calls]
        calls = int(sum(row.calls for row in rows))
        last, *ends = done_at(outlook, [calls, *(float(row.sync_after) for row in syncs)])
        return Queue(
            QueueOutlook(calls, last if calls else None),
            {
                row.athlete_id: (int(row.sync_calls), None if row.unlisted else end)
                for row, end in zip(syncs, ends, strict=True)
            },
        )

    def glance(self, connection: Connection, outlook: Outlook) -> Queue:
        """The same for who looks every second: to add up a very long queue takes half of one."""
        if self._glanced is None or not is_recent(self._glanced[0], outlook.now, GLANCED_FOR):
            self._glanced = outlook.now, self.queue(connection, outlook)
        return self._glanced[1]

    async def budget(self) -> Budget:
        """The windows, and what spent them today."""
        outlook, windows = await self.outlook(), await self.quota()
        midnight = window_start("read_day", outlook.now)
        reads = next(window.used for window in windows if window.window == "read_day")
        spent, queue = await self._database.read(
            lambda c: (_spent(c, midnight, reads), self.queue(c, outlook))
        )
        return Budget(outlook.now, windows, spent, queue.whole)

    async def whole_history(self, athlete_id: int, years: float) -> WholeHistory:
        """What all of an athlete's history, so many `years` of it, would cost and when it would be there.

        Raises NotFound for an athlete who is not connected.
        """
        outlook = await self.outlook()
        pace, queue = await self._database.read(
            lambda c: (cost.pace(c, athlete_id, outlook.now), self.queue(c, outlook))
        )
        if pace is None:
            raise NotFound(f"athlete {athlete_id} is not connected")
        more = 0 if pace.a_day is None else max(0, round(pace.a_day * DAYS_A_YEAR * years) - pace.held)
        calls = sync_calls(more, pace.held) if more else 0
        before = queue.whole.calls_needed
        (done,) = done_at(outlook, [before + calls])
        return WholeHistory(athlete_id, years, pace.held, more, calls, before, done)

    async def what_if(self, athletes: int, activities: int) -> WhatIf:
        """What `athletes` more, each with `activities`, would cost and when they would be done."""
        outlook = await self.outlook()
        queue = await self._database.read(lambda c: self.queue(c, outlook))
        calls, before = athletes * sync_calls(activities), queue.whole.calls_needed
        (done,) = done_at(outlook, [before + calls])
        return WhatIf(athletes, activities, calls, before, done)


def _spent(connection: Connection, midnight: datetime, reads: int) -> Spent:
    lanes = call_log.spent(connection, midnight, by="lane")
    people = call_log.spent(connection, midnight, by="athlete_id", most=TOP)
    hours = sorted(call_log.spent(connection, midnight, by="hour"), key=lambda row: int(row.what))
    calls = sum(row.calls for row in lanes)
    return Spent(
        calls,
        {row.what: row.calls for row in lanes},
        [AthleteCalls(row.what, row.calls) for row in people],
        [HourCalls(midnight + timedelta(hours=row.what), row.calls) for row in hours],
        max(0, reads - calls),
    )


def _rooms(windows: Sequence[Window]) -> Rooms:
    """Reads count in all four windows: the tighter one of each length binds."""
    held = {window.name: window for window in windows}
    left = {name: 0 if w.latched else max(0, w.quota - w.used) for name, w in held.items()}
    return Rooms(
        min(left["overall_15min"], left["read_15min"]),
        min(held["overall_15min"].quota, held["read_15min"].quota),
        min(left["overall_day"], left["read_day"]),
        min(held["overall_day"].quota, held["read_day"].quota),
        held["read_day"].used - held["read_day"].history,
    )
