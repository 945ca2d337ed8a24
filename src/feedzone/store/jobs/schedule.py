"""Schedules: when to reconcile each athlete, when to fetch gear, and when to retry dead letters.

With a push subscription, a full reconciliation runs every six hours. Without one no event can come, so quick
reconciliations of the latest page run in between, most often for recently active athletes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from ...domain.gear import gear_refresh
from ...domain.job import JobSpec, Lane, ReconcileHint, athlete_key
from ...domain.reconciliation import (
    COMPARED_EVERY,
    full_reconciliation_is_due,
    list_from,
    reconciliation_job,
)
from ...ports import Clock, Wakeup
from .. import athlete_activities, athletes, subscriptions
from ..engine.database import Database
from ..quota import breaker
from . import dead_letters, deferral, leases, lifecycle
from .deferral import Live

POLL_ACTIVE_EVERY = timedelta(minutes=15)
POLL_QUIET_EVERY = timedelta(hours=1)
ACTIVE_WITHIN = timedelta(days=7)
GEAR_EVERY = timedelta(hours=24)
BATCH = 100
SPREAD = 0.1
"""Intervals are shorter by up to this share, at random."""


class ReconciliationSchedule:
    """Enqueues the reconciliations that are due. `days` is the length of the window, INITIAL_SYNC_DAYS."""

    def __init__(
        self, database: Database, clock: Clock, wakeup: Wakeup, rng: random.Random, *, days: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._rng = rng
        self._days = days

    async def run(self) -> int:
        """Enqueue all reconciliations that are due; return how many."""
        now, count = self._clock.now(), 0
        while await self._database.read(lambda c: athletes.due_for_reconciliation(c, now, 1, lock=False)):
            # Spread the athletes that fall due together now, so that they do not next time.
            spread = [1 - SPREAD * self._rng.random() for _ in range(BATCH)]
            examined, enqueued = await self._database.write(partial(self._enqueue, now=now, spread=spread))
            count += enqueued
            if examined < BATCH:
                break
        if count:
            self._wakeup.notify()
        return count

    def _enqueue(self, connection: Connection, *, now: datetime, spread: Sequence[float]) -> tuple[int, int]:
        """Enqueue a batch; return how many athletes were due, and how many reconciliations were enqueued."""
        polling = not subscriptions.active_ids(connection)
        due = {row.id for row in athletes.due_for_reconciliation(connection, now, BATCH, lock=False)}
        keys = [athlete_key(athlete_id) for athlete_id in due]
        lifecycle.lock(connection, keys)
        live_jobs = deferral.live(connection, "reconcile_athlete", keys)
        rows = [r for r in athletes.due_for_reconciliation(connection, now, BATCH, lock=True) if r.id in due]
        specs: list[JobSpec] = []
        for row, share in zip(rows, spread, strict=False):
            verified = max(row.last_verified_at or row.connected_at, row.connected_at)
            lost = row.deliveries_lost_at is not None and row.deliveries_lost_at >= verified
            full = lost or verified + COMPARED_EVERY * (1 - SPREAD) <= now
            if full or polling:
                specs += self._reconciliation(connection, row, live_jobs.get(row.id), now, full=full)
            pause = self._pause(connection, row, now) if polling else COMPARED_EVERY
            begin = now if polling or full else verified
            athletes.schedule_reconciliation(connection, row.id, begin + pause * share)
        lifecycle.enqueue(connection, specs, now)
        return len(rows), len(specs)

    def _reconciliation(
        self, connection: Connection, row: Row[Any], live: Live | None, now: datetime, *, full: bool
    ) -> list[JobSpec]:
        """Return the due reconciliation; none while one of more than the usual days is under way."""
        # A waiting full reconciliation must not shrink to a quick one, nor to fewer days.
        hint = live.hint if live else None
        waiting = hint if isinstance(hint, ReconcileHint) and hint.full else None
        if waiting is not None and waiting.before is not None:
            return []
        spec = comparison(connection, row, self._days, now, full=full or waiting is not None)
        if waiting is not None:
            spec = _with_waiting(spec, waiting)
        return [spec]

    def _pause(self, connection: Connection, row: Row[Any], now: datetime) -> timedelta:
        active = athlete_activities.stored_between(
            connection, row.id, now - ACTIVE_WITHIN, now + ACTIVE_WITHIN
        )
        return POLL_ACTIVE_EVERY if active else POLL_QUIET_EVERY


def comparison(
    connection: Connection,
    row: Row[Any],
    days: int,
    now: datetime,
    *,
    full: bool = True,
    lane: Lane = Lane.RECONCILE,
) -> JobSpec:
    """Return the reconciliation that is due for the athlete in this row, and note that it is enqueued."""
    if not full:
        return reconciliation_job(row.id, days, full=False, to_end=_must_see_end(row.last_verified_at, now))
    everything = full_reconciliation_is_due(row.id, row.last_verified_at or row.connected_at, now)
    since = list_from(athletes.synced_range(row), days, now, everything=everything)
    athletes.note_comparison(connection, row.id, now)
    to_end = everything or _must_see_end(row.last_verified_at, now)
    return reconciliation_job(row.id, days, to_end=to_end, since=since, everything=everything, lane=lane)


def _with_waiting(spec: JobSpec, waiting: ReconcileHint) -> JobSpec:
    """Return the job, extended by what the waiting reconciliation covers."""
    hint = spec.hint
    assert isinstance(hint, ReconcileHint)
    since = min((at for at in (hint.since, waiting.since) if at is not None), default=None)
    merged = msgspec.structs.replace(
        hint,
        since=since,
        to_end=hint.to_end or waiting.to_end,
        everything=hint.everything or waiting.everything,
    )
    return msgspec.structs.replace(spec, hint=merged)


def _must_see_end(verified: datetime | None, now: datetime) -> bool:
    """Return whether a reconciliation must read the whole list: the first of a day (UTC), or a late one."""
    return verified is None or verified.date() < now.date() or verified + COMPARED_EVERY * (1 + SPREAD) <= now


class GearSchedule:
    """Enqueues a fetch of each athlete's gear, once a day, and soon after the athlete connects."""

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup, rng: random.Random) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._rng = rng

    async def run(self) -> int:
        """Enqueue all fetches that are due; return how many."""
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
        lifecycle.lock(connection, [athlete_key(athlete_id) for athlete_id in due])
        locked = athletes.due_for_gear(connection, now, BATCH, lock=True)
        athlete_ids = [athlete_id for athlete_id in locked if athlete_id in due]
        for athlete_id, share in zip(athlete_ids, spread, strict=False):
            athletes.schedule_gear(connection, athlete_id, now + GEAR_EVERY * share)
        lifecycle.enqueue(connection, [gear_refresh(athlete_id) for athlete_id in athlete_ids], now)
        return len(athlete_ids)


class AutoRetrySchedule:
    """Retries dead letters whose failure may have passed, such as those of an outage.

    While the breaker is open because Strava fails, no dead letter is retried. But some call must probe
    whether Strava answers again: when no job is about to call, a quick reconciliation of one athlete does.
    """

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup, *, days: int) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._days = days
        self._started = False

    async def run(self) -> int:
        """Retry all dead letters that are due; return how many jobs were enqueued.

        The first run after a start retries them all: a setting or the network may have been corrected.
        """
        now, count = self._clock.now(), 0
        if not self._started:
            await breaker.resume(self._database, now)
            self._started = True
        if await self._database.read(lambda c: _needs_probe(c, now)):
            count += await self._database.write(lambda c: self._enqueue_probe(c, now))
        while await self._database.read(lambda c: dead_letters.any_auto_retry(c, now)):
            retried = await self._database.write(lambda c: dead_letters.auto_retry_due(c, now, BATCH))
            count += retried
            if retried < BATCH:
                break
        if count:
            self._wakeup.notify()
        return count

    def _enqueue_probe(self, connection: Connection, now: datetime) -> int:
        latest = athletes.last_synced(connection)
        if latest is None:
            return 0
        lifecycle.enqueue(
            connection, [reconciliation_job(latest, self._days, full=False)], now, unless_live=True
        )
        return 1


def _needs_probe(connection: Connection, now: datetime) -> bool:
    """Return whether Strava fails at all calls, and no job will soon find out that it answers again."""
    if not breaker.is_failing(connection):
        return False
    due = lifecycle.next_due(connection)
    return (due is None or due > now + breaker.TRY_EVERY) and not leases.any_running(connection)
