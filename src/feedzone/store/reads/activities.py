"""Activities for pages and API: lists, counts, and the audit trail."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, literal, or_, select, tuple_

from ..engine.types import Instant
from ..removals import is_visible
from ..schema.tables import activity_changes, strava_activities, strava_athletes

_table = strava_activities
_columns = _table.c


def listing(
    connection: Connection,
    *,
    athlete_id: int | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    sport_type: str | None = None,
    visibility: str | None = None,
    updated_since: datetime | None = None,
    ids: Collection[int] | None = None,
    cursor: tuple[datetime, int] | None = None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return activities that are not deleted, latest start first, from after `cursor` on."""
    conditions = [
        _columns.sync_status != "deleted",
        _columns.start_date.is_not(None),
        is_visible(_columns.athlete_id),
    ]
    if athlete_id is not None:
        conditions.append(_columns.athlete_id == athlete_id)
    if after is not None:
        conditions.append(_columns.start_date >= after)
    if before is not None:
        conditions.append(_columns.start_date < before)
    if sport_type is not None:
        conditions.append(_columns.sport_type == sport_type)
    if visibility is not None:
        conditions.append(_columns.visibility == visibility)
    if updated_since is not None:
        conditions.append(_columns.updated_at >= updated_since)
    if ids is not None:
        conditions.append(_columns.id.in_(sorted(ids)))
    if cursor is not None:
        at, last = cursor
        conditions.append(
            tuple_(_columns.start_date, _columns.id) < tuple_(literal(at, Instant), literal(last))
        )
    query = (
        select(_table)
        .where(*conditions)
        .order_by(_columns.start_date.desc(), _columns.id.desc())
        .limit(limit)
    )
    return connection.execute(query).all()


def progress(connection: Connection, athlete_id: int, after: datetime | None) -> dict[str, int]:
    """Count the athlete's activities that started since `after`, by sync status."""
    query = (
        select(_columns.sync_status, func.count())
        .where(_columns.athlete_id == athlete_id, _columns.sync_status != "deleted")
        .group_by(_columns.sync_status)
    )
    if after is not None:
        query = query.where(_columns.start_date >= after)
    return {row[0]: row[1] for row in connection.execute(query)}


def changes(
    connection: Connection, *, since_id: str | None, limit: int, since: datetime | None = None
) -> Sequence[Row[Any]]:
    """Return the audit trail, oldest first."""
    query = select(activity_changes).where(is_visible(activity_changes.c.athlete_id))
    query = query.order_by(activity_changes.c.id).limit(limit)
    if since is not None:
        query = query.where(activity_changes.c.changed_at >= since)
    if since_id:
        query = query.where(activity_changes.c.id > since_id)
    return connection.execute(query).all()


def progress_of(connection: Connection, athlete_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return `progress` of several athletes at once, each since the start of their own backfill."""
    athlete = strava_athletes.c
    query = (
        select(_columns.athlete_id, _columns.sync_status, func.count().label("activities"))
        .join(strava_athletes, athlete.id == _columns.athlete_id)
        .where(
            _columns.athlete_id.in_(sorted(athlete_ids)),
            _columns.sync_status != "deleted",
            or_(athlete.initial_sync_after.is_(None), _columns.start_date >= athlete.initial_sync_after),
        )
        .group_by(_columns.athlete_id, _columns.sync_status)
    )
    counts: dict[int, dict[str, int]] = {}
    for row in connection.execute(query):
        counts.setdefault(row.athlete_id, {})[row.sync_status] = row.activities
    return counts
