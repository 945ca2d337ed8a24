"""The deadlines of departures: begins them, and deletes the data when they have passed."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from ...domain.athlete import DEPARTED
from ...domain.effect import BeginLeaving
from ...ports import Clock, Wakeup
from .. import leaving, removals
from ..engine.database import Database
from ..quota import breaker
from .schedule import BATCH


class LeavingSchedule:
    """Athletes whose tokens stay refused begin to leave `days` before Strava's limit of 30 days."""

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup, *, days: int) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._notice = timedelta(days=days)

    async def run(self) -> int:
        """Begin and enforce all deadlines that are due; return how many. Complete the departures of a process
        that has ended.

        No deadline passes while Strava refuses or fails all calls: nobody could connect again.
        """
        now = self._clock.now()
        completed = await removals.complete(self._database, now)
        if await self._database.read(breaker.is_open):
            return int(completed)
        begun, expired = await self._begin(now), await self._expire(now)
        if expired or completed:
            await self._database.erase_deleted()
            self._wakeup.notify()
        return begun + expired + completed

    async def _begin(self, now: datetime) -> int:
        before, count = now - (DEPARTED - self._notice), 0
        while rows := await self._database.read(lambda c: leaving.refused_for_long(c, before, BATCH)):
            until = now + self._notice
            effects = [BeginLeaving(row.id, "refused", until, row.connected_at) for row in rows]
            await self._database.write(partial(_begin_all, effects=effects, now=now))
            count += len(rows)
            if len(rows) < BATCH:
                break
        return count

    async def _expire(self, now: datetime) -> int:
        count = 0
        while due := await self._database.read(lambda c: leaving.due(c, now, BATCH)):
            for athlete_id in due:
                count += await self._database.write(partial(leaving.expire, athlete_id=athlete_id, now=now))
                await removals.complete(self._database, now)
            if len(due) < BATCH:
                break
        return count


def _begin_all(connection: Connection, *, effects: list[BeginLeaving], now: datetime) -> None:
    for effect in effects:
        leaving.begin(connection, effect, now)
