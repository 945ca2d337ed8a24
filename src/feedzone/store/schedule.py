"""When each athlete is compared with Strava (pains 9, 14).

With a push subscription: all of the window every six hours. Without one, events cannot come: the latest
page is asked for more often, and often for who has been active lately.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from ..domain.comparison import comparison
from ..ports import Clock, Wakeup
from . import activities, athletes, jobs, subscriptions
from .database import Database

FULL_EVERY = timedelta(hours=6)
POLL_ACTIVE_EVERY = timedelta(minutes=15)
POLL_QUIET_EVERY = timedelta(hours=1)
ACTIVE_WITHIN = timedelta(days=7)
BATCH = 100


class Schedule:
    """Enqueues the comparisons that are due. `days` is the window, INITIAL_SYNC_DAYS."""

    def __init__(
        self, database: Database, clock: Clock, wakeup: Wakeup, rng: random.Random, *, days: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._rng = rng
        self._days = days

    async def run(self) -> int:
        """Returns how many comparisons were enqueued."""
        now, jitter = self._clock.now(), self._rng.random()
        due = await self._database.read(lambda c: athletes.due_for_comparison(c, now, 1, lock=False))
        if not due:
            return 0
        count = await self._database.write(lambda c: self._enqueue(c, now, jitter))
        if count:
            self._wakeup.notify()
        return count

    def _enqueue(self, connection: Connection, now: datetime, jitter: float) -> int:
        polling = not subscriptions.active_ids(connection)
        specs = []
        for row in athletes.due_for_comparison(connection, now, BATCH, lock=True):
            verified = max(row.last_verified_at or row.connected_at, row.connected_at)
            full = verified + FULL_EVERY <= now
            if full or polling:
                specs.append(comparison(row.id, self._days, now, full=full))
            pause = self._pause(connection, row, now) if polling else FULL_EVERY
            # What fell due together shall not do so for ever.
            due = now + pause * (1 - 0.1 * jitter)
            if not (polling or full):
                due = verified + FULL_EVERY
            athletes.schedule_comparison(connection, row.id, due)
        jobs.enqueue(connection, specs, now)
        return len(specs)

    def _pause(self, connection: Connection, row: Row[Any], now: datetime) -> timedelta:
        active = activities.held_between(connection, row.id, now - ACTIVE_WITHIN, now + ACTIVE_WITHIN)
        return POLL_ACTIVE_EVERY if active else POLL_QUIET_EVERY
