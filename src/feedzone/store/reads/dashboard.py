"""Queries that only pages need. Every query stays on an index, however large the tables are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, String, and_, func, literal_column, select

from ..removals import is_visible
from ..schema.personal import ATHLETE_TABLES
from ..schema.tables import jobs, strava_activities, strava_athletes, webhook_events

_event = webhook_events.c
_athlete = strava_athletes.c
_activity = strava_activities.c
_job = jobs.c


class Completeness(NamedTuple):
    """The connected athletes: their number, and the number of those with all activities stored."""

    active: int
    complete: int
    verified_at: datetime | None
    """The oldest of their last reconciliations; null: some athletes have none yet."""


def completeness(connection: Connection) -> Completeness:
    compared = func.coalesce(_athlete.last_verified_at, _athlete.initial_sync_completed_at)
    query = select(
        func.count(),
        func.count().filter(_athlete.initial_sync_completed.is_(True)),
        func.min(compared),
        func.count(compared),
    ).where(_athlete.status == "active")
    active, complete, oldest, known = connection.execute(query).one()
    return Completeness(active, complete, oldest if known == active else None)


def syncing(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Return connected athletes whose backfill runs, the earliest start first."""
    query = (
        select(strava_athletes)
        .where(
            _athlete.status == "active",
            _athlete.initial_sync_completed.is_(False),
            _athlete.initial_sync_started_at.is_not(None),
        )
        .order_by(_athlete.initial_sync_started_at, _athlete.id)
        .limit(limit)
    )
    return connection.execute(query).all()


def without_access(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Return athletes that must connect again."""
    query = (
        select(strava_athletes)
        .where(_athlete.status.in_(("needs_reauth", "needs_scope", "leaving")))
        .order_by(_athlete.id)
        .limit(limit)
    )
    return connection.execute(query).all()


def names(connection: Connection, athlete_ids: Iterable[int]) -> dict[int, Row[Any]]:
    """Return `id firstname lastname username` by athlete id, without unknown athletes."""
    query = select(_athlete.id, _athlete.firstname, _athlete.lastname, _athlete.username).where(
        _athlete.id.in_(sorted(set(athlete_ids)))
    )
    rows: Sequence[Row[Any]] = list(connection.execute(query))
    return {row.id: row for row in rows}


def activity_summaries(connection: Connection, activity_ids: Iterable[int]) -> dict[int, Row[Any]]:
    """Return the columns of an activity that lists show, by id."""
    query = (
        select(
            _activity.id,
            _activity.athlete_id,
            _activity.name,
            _activity.sport_type,
            _activity.distance,
            _activity.moving_time,
            _activity.start_date,
            _activity.sync_status,
            _activity.last_sync_error,
            _activity.last_fetched_at,
            func.coalesce(_athlete.operator_may_see, False).label("operator_may_see"),
        )
        # An outer join: with few athletes, a planner would begin with all of their activities.
        .outerjoin(strava_athletes, _athlete.id == _activity.athlete_id)
        .where(_activity.id.in_(sorted(set(activity_ids))), is_visible(_activity.athlete_id))
    )
    rows: Sequence[Row[Any]] = list(connection.execute(query))
    return {row.id: row for row in rows}


def latest(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Return the activities with the latest start, as `activity_summaries`, without deleted activities."""
    newest = (
        select(_activity.id)
        .where(
            _activity.sync_status != "deleted",
            _activity.start_date.is_not(None),
            is_visible(_activity.athlete_id),
        )
        .order_by(_activity.start_date.desc(), _activity.id.desc())
        .limit(limit)
    )
    summaries = activity_summaries(connection, connection.execute(newest).scalars().all())
    return sorted(summaries.values(), key=lambda row: (row.start_date, row.id), reverse=True)


def outcomes_since(connection: Connection, first_id: str) -> dict[str, int]:
    """Count events from `first_id` on, by status."""
    query = select(_event.status, func.count()).where(_event.id >= first_id).group_by(_event.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def durations_since(connection: Connection, first_id: str, limit: int) -> list[float]:
    """Return the seconds from receipt to completion of the newest events."""
    query = (
        select(_event.created_at, _event.processed_at)
        .where(_event.status == "completed", _event.id >= first_id)
        .order_by(_event.id.desc())
        .limit(limit)
    )
    return [
        max(0.0, (row.processed_at - row.created_at).total_seconds())
        for row in connection.execute(query)
        if row.processed_at is not None
    ]


def lanes(connection: Connection) -> Sequence[Row[Any]]:
    """Return `priority jobs since` by lane: the number of queued jobs, and the receipt of the oldest."""
    query = (
        select(_job.priority, func.count().label("jobs"), func.min(_job.first_received_at).label("since"))
        .where(_job.state == literal_column("'queued'"))
        .group_by(_job.priority)
        .order_by(_job.priority)
    )
    return connection.execute(query).all()


def failure_counts(connection: Connection) -> dict[str, int]:
    """Count dead letters by error class, the largest count first."""
    kind = func.coalesce(_job.error_class, "other")
    query = (
        select(kind, func.count()).where(_job.state == "dead").group_by(kind).order_by(func.count().desc())
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def dead_letters_of(connection: Connection, error_class: str, limit: int) -> Sequence[Row[Any]]:
    """Return dead letters of one error class, latest first."""
    query = (
        select(jobs)
        .where(_job.state == "dead", func.coalesce(_job.error_class, "other") == error_class)
        .order_by(_job.id.desc())
        .limit(limit)
    )
    return connection.execute(query).all()


def dead_letter_ids(connection: Connection, job_ids: Iterable[str]) -> set[str]:
    """Return the ids of those jobs that are dead letters."""
    query = select(_job.id).where(and_(_job.id.in_(sorted(set(job_ids))), _job.state == "dead"))
    return {str(job_id) for job_id in connection.execute(query).scalars()}


def rows_by_table(connection: Connection, athlete_id: int) -> dict[str, int]:
    """Count an athlete's rows by table: the rows that disconnecting removes."""
    rows = {
        table.name: connection.execute(
            select(func.count()).select_from(table).where(table.c.athlete_id == athlete_id)
        ).scalar_one()
        for table in ATHLETE_TABLES
    }
    events = select(func.count()).where(_event.owner_id == athlete_id)
    return rows | {"webhook_events": connection.execute(events).scalar_one()}


def server(connection: Connection) -> tuple[str, datetime | None]:
    """Return the database's name and version, and its time (None: it uses our own clock)."""
    if connection.dialect.name == "sqlite":
        version = connection.execute(select(func.sqlite_version(type_=String))).scalar_one()
        return f"SQLite {version}", None
    version, now = connection.execute(
        select(func.current_setting("server_version", type_=String), func.now())
    ).one()
    return f"PostgreSQL {version.partition(' ')[0]}", now
