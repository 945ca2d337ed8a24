"""Which activities of an athlete are stored, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, func, or_, select, true

from .schema.tables import activity_changes, activity_streams, strava_activities, strava_athletes

_columns = strava_activities.c

_BETWEEN = select(_columns.id).where(
    _columns.athlete_id == bindparam("athlete"),
    _columns.start_date >= bindparam("after"),
    _columns.start_date < bindparam("before"),
    _columns.sync_status != "deleted",
)


def stored_between(connection: Connection, athlete_id: int, after: datetime, before: datetime) -> list[int]:
    """Return the ids of the athlete's existing activities that started from `after` until before `before`."""
    between = {"athlete": athlete_id, "after": after, "before": before}
    return sorted(connection.execute(_BETWEEN, between).scalars())


def stored_outside(connection: Connection, athlete_id: int, fetched_before: datetime, most: int) -> list[int]:
    """Return existing activities without a start or from before the synced range, longest unfetched first."""
    since = select(strava_athletes.c.initial_sync_after).where(strava_athletes.c.id == athlete_id)
    query = (
        select(_columns.id)
        .where(
            _columns.athlete_id == athlete_id,
            _columns.sync_status != "deleted",
            or_(_columns.start_date.is_(None), _columns.start_date < since.scalar_subquery()),
            or_(_columns.last_fetched_at.is_(None), _columns.last_fetched_at < fetched_before),
        )
        .order_by(_columns.last_fetched_at, _columns.id)
        .limit(most)
    )
    return list(connection.execute(query).scalars())


def stored_count(connection: Connection, athlete_id: int, *, since: datetime | None = None) -> int:
    """Count the athlete's stored activities without tombstones: all, or those that started since then."""
    query = select(func.count()).where(_columns.athlete_id == athlete_id, _columns.sync_status != "deleted")
    if since is not None:
        query = query.where(_columns.start_date >= since)
    return connection.execute(query).scalar_one()


def found_deleted(connection: Connection, athlete_id: int, since: datetime) -> int:
    """Count the activities that became tombstones since then without an event that says so."""
    changes = activity_changes.c
    buried = exists().where(
        changes.activity_id == _columns.id,
        changes.field == "sync_status",
        changes.cause == "reconciliation",
        changes.changed_at >= since,
    )
    query = select(func.count()).where(
        _columns.athlete_id == athlete_id, _columns.deleted_at >= since, buried
    )
    return connection.execute(query).scalar_one()


def are_summaries(athlete_id: int, sports: frozenset[str] | None) -> ColumnElement[bool]:
    """Match the activities of these sports whose details were never requested."""
    return and_(
        _columns.athlete_id == athlete_id,
        _columns.sync_status == "synced",
        ~exists().where(activity_streams.c.activity_id == _columns.id),
        true() if sports is None else _columns.sport_type.in_(sorted(sports or ())),
    )


def starts(
    connection: Connection, ids: Sequence[int], which: ColumnElement[bool]
) -> dict[int, datetime | None]:
    """Return the start of each of these activities that matches."""
    query = select(_columns.id, _columns.start_date).where(_columns.id.in_(ids), which)
    return {row.id: row.start_date for row in connection.execute(query)}
