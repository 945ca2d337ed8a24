"""When each athlete is compared with Strava (pains 9, 14), and their gear asked for (pain 57).

With a push subscription: all of the window every six hours. Without one, events cannot come: the latest
page is asked for more often, and often for who has been active lately.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row

from ...domain.gear import gear_refresh
from ...domain.job import JobSpec, ReconcileHint, athlete_key
from ...domain.reconciliation import full_reconciliation_is_due, list_from, reconciliation_job
from ...ports import Clock, Wakeup
from .. import activities, athletes, subscriptions
from ..engine.database import Database
from ..quota import breaker
from . import dead_letters, deferral, leases, lifecycle
from .deferral import Live

FULL_EVERY = timedelta(hours=6)
POLL_ACTIVE_EVERY = timedelta(minutes=15)
POLL_QUIET_EVERY = timedelta(hours=1)
ACTIVE_WITHIN = timedelta(days=7)
GEAR_EVERY = timedelta(hours=24)
BATCH = 100
SPREAD = 0.1
"""Intervals are shorter by up to this share, at random."""


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
        now, count = self._clock.now(), 0
        while await self._database.read(lambda c: athletes.due_for_reconciliation(c, now, 1, lock=False)):
            # What fell due together shall not do so for ever.
            spread = [1 - SPREAD * self._rng.random() for _ in range(BATCH)]
            looked_at, enqueued = await self._database.write(partial(self._enqueue, now=now, spread=spread))
            count += enqueued
            if looked_at < BATCH:
                break
        if count:
            self._wakeup.notify()
        return count

    def _enqueue(self, connection: Connection, *, now: datetime, spread: Sequence[float]) -> tuple[int, int]:
        """Returns how many athletes were looked at, and how many comparisons enqueued."""
        polling = not subscriptions.active_ids(connection)
        due = {row.id for row in athletes.due_for_reconciliation(connection, now, BATCH, lock=False)}
        keys = [athlete_key(number) for number in due]
        lifecycle.lock(connection, keys)
        held = deferral.live(connection, "reconcile_athlete", keys)
        rows = [r for r in athletes.due_for_reconciliation(connection, now, BATCH, lock=True) if r.id in due]
        specs: list[JobSpec] = []
        for row, share in zip(rows, spread, strict=False):
            verified = max(row.last_verified_at or row.connected_at, row.connected_at)
            full = verified + FULL_EVERY * (1 - SPREAD) <= now
            if full or polling:
                specs += self._comparison(row, held.get(row.id), now, full=full)
            pause = self._pause(connection, row, now) if polling else FULL_EVERY
            begin = now if polling or full else verified
            athletes.schedule_reconciliation(connection, row.id, begin + pause * share)
        lifecycle.enqueue(connection, specs, now)
        return len(rows), len(specs)

    def _comparison(self, row: Row[Any], live: Live | None, now: datetime, *, full: bool) -> list[JobSpec]:
        """The comparison that is due; none while one of more than the usual days is under way."""
        # A full one that waits is not narrowed by a quick one, nor by a shorter one.
        hint = live.hint if live else None
        waits = hint if isinstance(hint, ReconcileHint) and hint.full else None
        if waits is not None and waits.before is not None:
            return []
        since = None
        if full:
            due_whole = full_reconciliation_is_due(row.id, row.last_verified_at or row.connected_at, now)
            since = list_from(athletes.synced_range(row), self._days, now, everything=due_whole)
        if waits is not None and waits.since is not None:
            waited = datetime.fromtimestamp(waits.since, UTC)
            since = waited if since is None else min(since, waited)
        to_end = _goes_to_end(row.last_verified_at, now) or (waits is not None and waits.to_end)
        full = full or waits is not None
        return [reconciliation_job(row.id, self._days, full=full, to_end=to_end, since=since)]

    def _pause(self, connection: Connection, row: Row[Any], now: datetime) -> timedelta:
        active = activities.stored_between(connection, row.id, now - ACTIVE_WITHIN, now + ACTIVE_WITHIN)
        return POLL_ACTIVE_EVERY if active else POLL_QUIET_EVERY


def _goes_to_end(verified: datetime | None, now: datetime) -> bool:
    """Whether a comparison must see the list's end: the first of a day (UTC), and one that comes late."""
    return verified is None or verified.date() < now.date() or verified + FULL_EVERY * (1 + SPREAD) <= now


class GearSchedule:
    """Enqueues a look at the gear of each athlete, once a day, and soon after connecting."""

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup, rng: random.Random) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._rng = rng

    async def run(self) -> int:
        """Returns how many looks were enqueued."""
        now, count = self._clock.now(), 0
        while await self._database.read(lambda c: athletes.due_for_gear(c, now, 1, lock=False)):
            spread = [1 - SPREAD * self._rng.random() for _ in range(BATCH)]
            enqueued = await self._database.write(partial(self._enqueue, now=now, spread=spread))
            count += enqueued
            if enqueued < BATCH:
                break
        if count:
            self._wakeup.notify()
        return count

    def _enqueue(self, connection: Connection, *, now: datetime, spread: Sequence[float]) -> int:
        due = set(athletes.due_for_gear(connection, now, BATCH, lock=False))
        lifecycle.lock(connection, [athlete_key(number) for number in due])
        mine = [one for one in athletes.due_for_gear(connection, now, BATCH, lock=True) if one in due]
        for number, share in zip(mine, spread, strict=False):
            athletes.schedule_gear(connection, number, now + GEAR_EVERY * share)
        lifecycle.enqueue(connection, [gear_refresh(number) for number in mine], now)
        return len(mine)


class AutoRetrySchedule:
    """Tries again what was given up while Strava failed: it may answer now.

    While it fails at all calls nothing is tried again, but somebody must ask whether that has passed: when
    no job is about to, a quick look at one athlete's list does.
    """

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup, *, days: int) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._days = days

    async def run(self) -> int:
        """Returns how many jobs were enqueued."""
        now, count = self._clock.now(), 0
        if await self._database.read(lambda c: _nobody_asks(c, now)):
            count += await self._database.write(lambda c: self._look(c, now))
        while await self._database.read(lambda c: dead_letters.any_auto_retry(c, now)):
            given = await self._database.write(lambda c: dead_letters.auto_retry_due(c, now, BATCH))
            count += given
            if given < BATCH:
                break
        if count:
            self._wakeup.notify()
        return count

    def _look(self, connection: Connection, now: datetime) -> int:
        latest = athletes.last_synced(connection)
        if latest is None:
            return 0
        lifecycle.enqueue(
            connection, [reconciliation_job(latest, self._days, full=False)], now, unless_live=True
        )
        return 1


def _nobody_asks(connection: Connection, now: datetime) -> bool:
    """Whether Strava fails at all calls, and no job will soon find out that it answers again."""
    if not breaker.is_failing(connection):
        return False
    due = lifecycle.next_due(connection)
    return (due is None or due > now + breaker.TRY_EVERY) and not leases.any_running(connection)
