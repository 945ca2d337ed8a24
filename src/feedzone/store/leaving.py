"""Leaving athletes: their data stays until a deadline, and a new consent ends that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from ..domain.effect import BeginLeaving, PurgeAthlete
from ..domain.job import athlete_key, revoke_job
from . import purge
from .jobs import lifecycle
from .schema.tables import strava_athletes

_columns = strava_athletes.c
_BEGIN = update(strava_athletes).where(
    _columns.id == bindparam("athlete"),
    _columns.status == "needs_reauth",
    _columns.connected_at <= bindparam("consent"),
)
_REFUSED = (
    select(_columns.id, _columns.connected_at)
    # Without `refused_at` the key of the tokens was lost: the last change of the row is when.
    .where(
        _columns.status == "needs_reauth",
        func.coalesce(_columns.refused_at, _columns.updated_at) <= bindparam("before"),
    )
    .order_by(_columns.id)
    .limit(bindparam("most"))
)
_DUE = (
    select(_columns.id)
    .where(_columns.status == "leaving", _columns.leaves_at <= bindparam("now"))
    .order_by(_columns.leaves_at)
    .limit(bindparam("most"))
)
_NEXT = select(func.min(_columns.leaves_at)).where(_columns.status == "leaving")


def begin(connection: Connection, effect: BeginLeaving, now: datetime) -> None:
    """Set the deadline, unless the athlete has connected again. An earlier deadline stays."""
    values = {"athlete": effect.athlete_id, "consent": effect.consent}
    connection.execute(
        _BEGIN.values(status="leaving", leaves_at=effect.until, leaving_cause=effect.cause, updated_at=now),
        values,
    )


def refused_for_long(connection: Connection, before: datetime, limit: int) -> Sequence[Row[Any]]:
    """Return the athletes whose tokens have not worked since `before`."""
    rows: Sequence[Row[Any]] = list(connection.execute(_REFUSED, {"before": before, "most": limit}))
    return rows


def due(connection: Connection, now: datetime, limit: int) -> Sequence[int]:
    """Return the athletes whose deadline has passed, longest ago first."""
    return connection.execute(_DUE, {"now": now, "most": limit}).scalars().all()


def next_deadline(connection: Connection) -> datetime | None:
    """Return the earliest deadline; None: no athlete leaves."""
    return connection.execute(_NEXT).scalar()


def expire(connection: Connection, athlete_id: int, now: datetime) -> bool:
    """Delete the data of an athlete whose deadline has passed; revoke the tokens that are left, in a job."""
    lifecycle.lock(connection, [athlete_key(athlete_id)])
    row = connection.execute(
        select(strava_athletes).where(_columns.id == athlete_id).with_for_update()
    ).one_or_none()
    if row is None or row.status != "leaving" or row.leaves_at > now:
        return False
    reason = f"no new consent until the deadline of {row.leaves_at:%Y-%m-%d %H:%M} UTC"
    ended = PurgeAthlete(athlete_id, "expired", row.leaving_cause, reason, row.connected_at)
    if not purge.purge(connection, ended, now):
        return False
    lifecycle.enqueue(connection, [revoke_job(athlete_id, row.refresh_token_encrypted)], now)
    return True
