"""How many calls the waiting jobs will make, and in which order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, bindparam, case, func, or_, select

from ...domain.job import Lane
from ...domain.job_kinds import OUTSIDE_BACKFILL
from ...domain.outcome import LONG_WAITS
from .. import athlete_activities, athletes
from ..schema.tables import jobs

_columns = jobs.c
_OLDEST_BACKFILL = select(func.min(_columns.first_received_at)).where(
    _columns.state.in_(("queued", "running")),
    _columns.priority == int(Lane.BACKFILL),
    _columns.attempts == 0,
    _columns.kind != "reconcile_athlete",
)


_BACKFILL_WAITS = (
    select(_columns.id)
    .where(
        _columns.state.in_(("queued", "running")),
        or_(_columns.priority == int(Lane.BACKFILL), _columns.kind == "backfill_athlete"),
        _columns.kind != "reconcile_athlete",
        or_(_columns.due_at <= bindparam("soon"), _columns.wait_reason == "quota"),
    )
    .limit(1)
)
SOON = timedelta(minutes=15)


class Waiting(NamedTuple):
    """The calls of one athlete's waiting jobs.

    `calls`: all of them. `sync_calls`: those of a backfill, which is done after `sync_after` calls of all
    athletes. `unlisted`: the list is not complete, so there may be more.
    """

    athlete_id: int
    calls: int
    sync_calls: int
    sync_after: int
    unlisted: bool


def waiting(connection: Connection, now: datetime) -> list[Waiting]:
    """Return the waiting jobs by athlete: due, running, or delayed by a spent window or a failure.

    Rechecks that are not due yet are part of the demand that is learned from the call log.
    """
    return [
        Waiting(row.athlete_id, int(row.calls), int(row.sync_calls), int(row.sync_after), bool(row.unlisted))
        for row in connection.execute(_WAITING, {"now": now})
    ]


def oldest_backfill_since(connection: Connection) -> datetime | None:
    """Return when the oldest backfill job was enqueued that only the rate limit delays."""
    since: datetime | None = connection.execute(_OLDEST_BACKFILL).scalar()
    return since


def backfill_waits(connection: Connection, now: datetime) -> bool:
    """Return whether a backfill has work now, or would have if the rate limit allowed it."""
    return connection.execute(_BACKFILL_WAITS, {"soon": now + SOON}).first() is not None


class Pace(NamedTuple):
    """How many activities of an athlete are stored, and how many there were `a_day` in the synced window.

    `a_day` is None when the synced window has no beginning: all activities of the athlete are listed.
    """

    stored: int
    a_day: float | None


def pace(connection: Connection, athlete_id: int, now: datetime) -> Pace | None:
    """Return the athlete's pace. None: the athlete is not connected."""
    athlete = athletes.get(connection, athlete_id)
    if athlete is None or athlete.status == "deauthorized":
        return None
    after = athlete.initial_sync_after
    stored = athlete_activities.stored_count(connection, athlete_id)
    if after is None:
        return Pace(stored, None)
    in_window = athlete_activities.stored_count(connection, athlete_id, since=after)
    return Pace(stored, in_window / max(1.0, (now - after) / timedelta(days=1)))


def _waiting_by_athlete() -> Select[Any]:
    kind, lane = _columns.kind, _columns.priority
    lists = kind == "backfill_athlete"
    in_a_backfill = or_(lists, and_(lane == int(Lane.BACKFILL), kind.not_in(OUTSIDE_BACKFILL)))
    line = (
        select(
            _columns.athlete_id,
            _columns.calls,
            case((in_a_backfill, 1), else_=0).label("syncs"),
            case((lists, 1), else_=0).label("lists"),
            func.sum(_columns.calls)
            .over(order_by=(lane, _columns.fair_position, _columns.id))
            .label("after"),
        )
        .where(
            _columns.state.in_(("queued", "running")),
            or_(
                _columns.due_at <= bindparam("now"),
                _columns.wait_reason.in_(LONG_WAITS),
                _columns.state == "running",
            ),
        )
        .subquery()
        .c
    )
    return select(
        line.athlete_id,
        func.sum(line.calls).label("calls"),
        func.sum(line.calls * line.syncs).label("sync_calls"),
        func.max(line.after * line.syncs).label("sync_after"),
        func.max(line.lists).label("unlisted"),
    ).group_by(line.athlete_id)


_WAITING = _waiting_by_athlete()
