"""The queue as pages, API and health checks read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from ...domain.outcome import LONG_WAITS
from ..schema.tables import jobs


def listing(
    connection: Connection, *, state: str | None, limit: int, after_id: str | None
) -> Sequence[Row[Any]]:
    """Return jobs by id, oldest first."""
    query = select(jobs).where(jobs.c.state != "discarded").order_by(jobs.c.id).limit(limit)
    if state:
        query = query.where(jobs.c.state == state)
    if after_id:
        query = query.where(jobs.c.id > after_id)
    return connection.execute(query).all()


def counts(connection: Connection) -> dict[str, int]:
    """Count jobs by state."""
    query = select(jobs.c.state, func.count()).where(jobs.c.state != "discarded").group_by(jobs.c.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def any_due_reconciliation(connection: Connection, now: datetime) -> bool:
    """Return whether the reconciliation of an athlete is due or runs."""
    due = select(jobs.c.id).where(
        jobs.c.kind == "reconcile_athlete", jobs.c.state.in_(("queued", "running")), jobs.c.due_at <= now
    )
    return connection.execute(due.limit(1)).first() is not None


def next_wait(connection: Connection, athlete_id: int, now: datetime) -> Row[Any] | None:
    """Return `due_at last_error` of the athlete's next job; None while a job is due or runs."""
    query: Any = (
        select(
            jobs.c.due_at,
            case((jobs.c.wait_reason.in_(LONG_WAITS), jobs.c.last_error)).label("last_error"),
        )
        .where(jobs.c.athlete_id == athlete_id, jobs.c.state.in_(("queued", "running")))
        .order_by(jobs.c.state.desc(), jobs.c.due_at)  # running ones first
        .limit(1)
    )
    row: Row[Any] | None = connection.execute(query).first()
    return row if row is not None and row.due_at > now and row.last_error else None


def oldest_due(connection: Connection, now: datetime) -> datetime | None:
    """Return when the longest overdue job was due."""
    query = select(func.min(jobs.c.due_at)).where(jobs.c.state == "queued", jobs.c.due_at <= now)
    return connection.execute(query).scalar()
