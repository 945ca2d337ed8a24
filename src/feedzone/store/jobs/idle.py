"""Spend idle calls: compare athletes with Strava more often, and fetch doubted streams again.

All jobs here go into the lowest lane, which makes only calls that no other lane will need. Their calls
count as calls of backfills, so nothing is reserved for them. They begin only while no backfill waits.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, update

from ...clock import TimedCache
from ...domain.job import Lane, athlete_key
from ...domain.quota.idle import idle_calls_an_hour
from ...domain.reconciliation import Pauses, ask_for_streams, pauses
from ...ports import Clock, Wakeup
from .. import streams
from ..engine.database import Database
from ..quota import breaker
from ..quota.budget import BudgetTable
from ..schema.tables import strava_activities, strava_athletes
from . import cost, deferral, lifecycle
from .schedule import comparison

ACTIVE_WITHIN = timedelta(days=7)
BATCH = 20
"""The most jobs that one step enqueues."""

STREAMS_SHARE = 0.25
"""The part of the idle calls that fetches doubted streams, while there are any."""

COUNTED_FOR = timedelta(minutes=5)

_athlete = strava_athletes.c
_IS_ACTIVE = or_(
    _athlete.last_event_at >= bindparam("lately"),
    exists().where(
        strava_activities.c.athlete_id == _athlete.id, strava_activities.c.start_date >= bindparam("lately")
    ),
)
_COMPARED = and_(
    _athlete.status == "active",
    _athlete.initial_sync_listed.is_(True),
    _athlete.last_verified_at.is_not(None),
)
_COUNTS = (
    select(_IS_ACTIVE.label("is_active"), func.count().label("athletes"))
    .where(_COMPARED)
    .group_by("is_active")
)
_DUE = (
    select(strava_athletes)
    .where(
        _COMPARED,
        # The last comparison has ended well. After a failure, the usual schedule is often enough.
        or_(
            _athlete.comparison_queued_at.is_(None),
            _athlete.last_verified_at >= _athlete.comparison_queued_at,
        ),
        or_(
            _athlete.last_verified_at <= bindparam("resting_before"),
            and_(_athlete.last_verified_at <= bindparam("active_before"), _IS_ACTIVE),
        ),
    )
    .order_by(_athlete.last_verified_at)
    .limit(BATCH)
)
_LOCKED_DUE = _DUE.with_for_update(skip_locked=True, of=strava_athletes)
_DOUBTER = (
    select(_athlete.id, _athlete.streams_doubted_at, _athlete.connected_at)
    .where(_athlete.status == "active", _athlete.streams_doubted_at.is_not(None))
    .order_by(_athlete.streams_doubted_at)
    .limit(1)
)
_TRUST = (
    update(strava_athletes)
    .where(_athlete.id == bindparam("athlete"), _athlete.streams_doubted_at == bindparam("doubted"))
    .values(streams_doubted_at=None)
)


class IdleSchedule:
    """Enqueues what idle calls are good for. `days` is the length of the window, INITIAL_SYNC_DAYS."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        wakeup: Wakeup,
        budget: BudgetTable,
        rng: random.Random,
        *,
        days: int,
        every_s: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._budget = budget
        self._rng = rng
        self._days = days
        self._every_s = every_s
        self._counts: TimedCache[tuple[int, int]] = TimedCache(COUNTED_FOR)

    async def run(self) -> int:
        """Enqueue the due jobs; return their number."""
        now = self._clock.now()
        if not await self._database.read(lambda c: _is_calm(c, now)):
            return 0
        if await self._database.read(_is_urgent):
            return await self._ask_for_streams(BATCH, now)
        windows, demand = await self._budget.windows(), await self._budget.demand()
        idle = idle_calls_an_hour(windows, demand, now)
        if idle <= 0:
            return 0
        active, resting = await self._counts.fetch(
            now, lambda: self._database.read(lambda c: _counts(c, now))
        )
        pause = pauses(idle, active, resting)
        count = 0
        if await self._database.read(lambda c: c.execute(_DUE, _parameters(pause, now)).first() is not None):
            count = await self._database.write(partial(self._compare, pause=pause, now=now))
        if count:
            self._wakeup.notify()
        elif self._rng.random() < STREAMS_SHARE * idle * self._every_s / 3600:
            count = await self._ask_for_streams(1, now)
        return count

    async def _ask_for_streams(self, most: int, now: datetime) -> int:
        if not await self._database.read(lambda c: c.execute(_DOUBTER).first() is not None):
            return 0
        count = await self._database.write(lambda c: _doubt_streams(c, most, now))
        if count:
            self._wakeup.notify()
        return count

    def _compare(self, connection: Connection, *, pause: Pauses, now: datetime) -> int:
        due = [row.id for row in connection.execute(_DUE, _parameters(pause, now))]
        keys = [athlete_key(athlete_id) for athlete_id in due]
        lifecycle.lock(connection, keys)
        live = deferral.live(connection, "reconcile_athlete", keys)
        rows = [
            row
            for row in connection.execute(_LOCKED_DUE, _parameters(pause, now)).all()
            if row.id in due and row.id not in live
        ]
        specs = [comparison(connection, row, self._days, now, lane=Lane.BACKFILL) for row in rows]
        lifecycle.enqueue(connection, specs, now, unless_live=True)
        return len(specs)


def _parameters(pause: Pauses, now: datetime) -> dict[str, datetime]:
    return {
        "lately": now - ACTIVE_WITHIN,
        "active_before": now - pause.active,
        "resting_before": now - pause.resting,
    }


def _counts(connection: Connection, now: datetime) -> tuple[int, int]:
    """Return how many athletes were active lately, and how many were not."""
    rows = connection.execute(_COUNTS, {"lately": now - ACTIVE_WITHIN}).all()
    by_activity = {bool(row.is_active): row.athletes for row in rows}
    return by_activity.get(True, 0), by_activity.get(False, 0)


def _is_calm(connection: Connection, now: datetime) -> bool:
    """Return whether no backfill waits, and Strava answers."""
    return not cost.backfill_waits(connection, now) and not breaker.is_failing(connection)


def _is_urgent(connection: Connection) -> bool:
    """Return whether an athlete has just connected again with other scopes."""
    row = connection.execute(_DOUBTER).first()
    return row is not None and row.streams_doubted_at <= row.connected_at


def _doubt_streams(connection: Connection, most: int, now: datetime) -> int:
    """Enqueue the fetch of up to `most` doubted streams, of one athlete, newest activities first."""
    athlete = connection.execute(_DOUBTER).first()
    if athlete is None:
        return 0
    doubted = streams.older_than(connection, athlete.id, athlete.streams_doubted_at, most)
    if not doubted:
        connection.execute(_TRUST, {"athlete": athlete.id, "doubted": athlete.streams_doubted_at})
    specs = (ask_for_streams(athlete.id, activity_id, Lane.BACKFILL) for activity_id in doubted)
    lifecycle.enqueue(connection, specs, now, unless_live=True)
    return len(doubted)
