"""The history of one activity: its events, calls, jobs and changes.

Every query stays on an index, and takes the latest rows only: an activity may have changed for years.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from ...domain.job import activity_key, photos_key
from ..schema.tables import (
    activity_changes,
    activity_streams,
    call_log,
    job_attempts,
    jobs,
    strava_athletes,
    strava_gear,
    webhook_events,
)

MOST = 100
"""The number of rows of each kind."""

_event = webhook_events.c
_EVENTS = (
    select(webhook_events)
    .where(_event.object_id == bindparam("activity"), _event.object_type == "activity")
    .order_by(_event.id.desc())
    .limit(MOST)
)
_CALLS = (
    select(call_log)
    .where(call_log.c.activity_id == bindparam("activity"))
    .order_by(call_log.c.id.desc())
    .limit(MOST)
)
_CHANGES = (
    select(activity_changes)
    .where(activity_changes.c.activity_id == bindparam("activity"))
    .order_by(activity_changes.c.id.desc())
    .limit(MOST)
)
_JOBS = (
    select(jobs)
    .where(
        jobs.c.kind.in_(("refresh_activity", "refresh_photos")),
        jobs.c.key.in_(bindparam("keys", expanding=True)),
    )
    .order_by(jobs.c.id)
)
_ATTEMPTS = (
    select(job_attempts)
    .where(job_attempts.c.job_id.in_(bindparam("jobs", expanding=True)))
    .order_by(job_attempts.c.id.desc())
    .limit(MOST)
)
_streams = activity_streams.c
_STREAMS: Select[Any] = select(
    _streams.state, _streams.channels, _streams.samples, _streams.fetched_at
).where(_streams.activity_id == bindparam("activity"))
_GEAR = select(strava_gear.c.id, strava_gear.c.name, strava_gear.c.nickname).where(
    strava_gear.c.athlete_id == bindparam("athlete")
)
_athlete = strava_athletes.c
_ATHLETE: Select[Any] = select(
    _athlete.id,
    _athlete.firstname,
    _athlete.lastname,
    _athlete.username,
    _athlete.status,
    _athlete.operator_may_see,
).where(_athlete.id == bindparam("athlete"))


def events_of(connection: Connection, activity_id: int) -> Sequence[Row[Any]]:
    """Return events, newest first; the other lists have the same order."""
    return connection.execute(_EVENTS, {"activity": activity_id}).all()


def calls_of(connection: Connection, activity_id: int) -> Sequence[Row[Any]]:
    """Return the calls of the last eight days (call_log.KEPT)."""
    return connection.execute(_CALLS, {"activity": activity_id}).all()


def changes_of(connection: Connection, activity_id: int) -> Sequence[Row[Any]]:
    return connection.execute(_CHANGES, {"activity": activity_id}).all()


def jobs_of(connection: Connection, activity_id: int) -> Sequence[Row[Any]]:
    """Return queued and running jobs and dead letters, oldest first."""
    keys = [activity_key(activity_id), photos_key(activity_id)]
    return connection.execute(_JOBS, {"keys": keys}).all()


def attempts_of(connection: Connection, job_ids: Sequence[str]) -> Sequence[Row[Any]]:
    return connection.execute(_ATTEMPTS, {"jobs": list(job_ids)}).all() if job_ids else []


def streams_of(connection: Connection, activity_id: int) -> Row[Any] | None:
    """Return the state of the streams, without the samples."""
    return connection.execute(_STREAMS, {"activity": activity_id}).first()


def gear_names(connection: Connection, athlete_id: int) -> dict[str, str]:
    """Return the athlete's names of bikes and shoes, by id."""
    rows = connection.execute(_GEAR, {"athlete": athlete_id})
    return {row.id: row.nickname or row.name or row.id for row in rows}


def athlete_of(connection: Connection, athlete_id: int) -> Row[Any] | None:
    return connection.execute(_ATHLETE, {"athlete": athlete_id}).first()
