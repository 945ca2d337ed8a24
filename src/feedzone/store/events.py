"""Store webhook events: the payload from Strava, and the status of its processing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from ..domain.event import BULK, redacted
from ..domain.job import Job
from .engine.dialect import among
from .removals import is_visible
from .schema.tables import rejected_claims, strava_activities, strava_athletes, webhook_events

OPEN = ("pending", "processing")


_columns = webhook_events.c

# These statements run for every job. They are built once, as building one takes longer than running it.
_MARK_PROCESSING = (
    update(webhook_events)
    .where(_columns.job_id == bindparam("job"), _columns.status == "pending")
    .values(status="processing", attempts=_columns.attempts + 1)
)
_MARK_PENDING = (
    update(webhook_events)
    .where(_columns.job_id == bindparam("job"), _columns.status == "processing")
    .values(status="pending", attempts=_columns.attempts - 1)
)
_OWNERS_WITH_BACKLOG = (
    select(_columns.owner_id)
    .outerjoin(strava_activities, strava_activities.c.id == _columns.object_id)
    .where(
        among(_columns.owner_id, "athletes"),
        _columns.status == literal_column("'pending'"),  # a literal, so that the partial index matches
        _columns.object_type == "activity",
        _columns.aspect_type == "create",
        strava_activities.c.id.is_(None),
    )
    .group_by(_columns.owner_id)
    .having(func.count(_columns.object_id.distinct()) >= bindparam("least"))
)
# It stops counting where the number makes no more difference.
_updated = (
    select(_columns.object_id)
    .distinct()
    .where(
        _columns.owner_id == strava_athletes.c.id,
        _columns.status == literal_column("'pending'"),  # a literal, so that the partial index matches
        _columns.object_type == "activity",
        _columns.aspect_type == "update",
        _columns.job_id.is_not(None),
    )
    .limit(BULK)
    .correlate(strava_athletes)
    .subquery()
)
_PENDING_UPDATES = select(
    strava_athletes.c.id.label("owner_id"),
    select(func.count()).select_from(_updated).scalar_subquery().label("activities"),
).where(among(strava_athletes.c.id, "athletes"))
_RECENTLY_REFETCHED = select(strava_activities.c.id).where(
    among(strava_activities.c.id, "ids"),
    strava_activities.c.last_fetched_at >= bindparam("since"),
    exists().where(
        _columns.object_id == strava_activities.c.id,
        _columns.object_type == "activity",
        _columns.aspect_type == "update",
        _columns.created_at >= bindparam("since"),
        _columns.created_at <= strava_activities.c.last_fetched_at,
    ),
)
_COMPLETE = (
    update(webhook_events)
    # Not IN: a statement for several rows takes no list.
    .where(_columns.job_id == bindparam("job"), or_(*(_columns.status == each for each in (*OPEN, "failed"))))
    .values(
        status="completed",
        processed_at=bindparam("now"),
        error_message=case(
            (
                _columns.aspect_type == func.coalesce(bindparam("about", type_=String), _columns.aspect_type),
                bindparam("note"),
            ),
        ),
    )
)
_COMPLETE_UPTO = _COMPLETE.where(_columns.job_version <= bindparam("upto"))


# Literals: after some runs PostgreSQL plans without the parameters, and would walk all events by time.
_OLDEST_OPEN = select(func.min(_columns.created_at)).where(
    _columns.status.in_([literal_column(f"'{status}'") for status in OPEN])
)
_PAYLOADS: Select[Any] = select(_columns.id, _columns.event_data, _columns.status, _columns.job_id)
_LOCK_IF_FREE = select(_columns.id).where(_columns.id == bindparam("event")).with_for_update(skip_locked=True)
_WORDS_WITHOUT_ACTIVITY = _PAYLOADS.outerjoin(
    strava_activities, strava_activities.c.id == _columns.object_id
).where(
    among(_columns.object_id, "activities"),
    _columns.object_type == "activity",
    or_(strava_activities.c.id.is_(None), strava_activities.c.sync_status == "deleted"),
)


def owners_with_backlog(connection: Connection, athlete_ids: Iterable[int], *, least: int) -> list[int]:
    """Return athletes with at least `least` announced activities that are neither fetched nor listed yet."""
    parameters = {"athletes": sorted(athlete_ids), "least": least}
    return list(connection.execute(_OWNERS_WITH_BACKLOG, parameters).scalars())


def pending_updates(connection: Connection, athlete_ids: Iterable[int]) -> Counter[int]:
    """Return, by athlete, how many activities have pending update events with a job: BULK at most."""
    rows = connection.execute(_PENDING_UPDATES, {"athletes": sorted(athlete_ids)})
    return Counter({row.owner_id: row.activities for row in rows})


def recently_refetched(connection: Connection, ids: Iterable[int], since: datetime) -> set[int]:
    """Return the activities that were updated and then fetched since this time.

    Their first new state is stored, and more updates may follow.
    """
    return set(connection.execute(_RECENTLY_REFETCHED, {"ids": sorted(ids), "since": since}).scalars())


def mark_processing(connection: Connection, job_ids: Sequence[str]) -> None:
    """Mark the pending events of these jobs as processing, and count the attempt."""
    if job_ids:
        connection.execute(_MARK_PROCESSING, [{"job": job_id} for job_id in job_ids])


def mark_pending(connection: Connection, job_ids: Sequence[str]) -> None:
    """Mark the events of these jobs as pending again; the started run does not count as an attempt.

    It had to wait, or its worker returned the job.
    """
    if job_ids:
        connection.execute(_MARK_PENDING, [{"job": job_id} for job_id in job_ids])


def complete(
    connection: Connection,
    job_id: str,
    version: int | None,
    note: str | None,
    now: datetime,
    *,
    about: str | None = None,
) -> None:
    """Mark the job's events as completed: those up to `version` of the job, or all if it is None.

    The note is stored only with events whose aspect type is `about`, or with all if it is None.
    """
    statement = _COMPLETE if version is None else _COMPLETE_UPTO
    upto = {} if version is None else {"upto": version}
    notes = {"note": note, "about": about}
    connection.execute(statement, {"job": job_id, "now": now, **notes, **upto})


def complete_all(
    connection: Connection, runs: Iterable[tuple[str, int, str | None, str | None]], now: datetime
) -> None:
    """Do the same for several runs: each is a job, its version at the start, the note and `about`."""
    rows = [
        {"job": job_id, "upto": version, "note": note, "about": about, "now": now}
        for job_id, version, note, about in runs
    ]
    connection.execute(_COMPLETE_UPTO, rows)


def note_failure(connection: Connection, job: Job, error: str, *, final: bool, now: datetime) -> None:
    """Record that a run failed: the job's events are pending again, or failed with `final`."""
    values: dict[str, Any] = {"status": "failed" if final else "pending", "error_message": error}
    if final:
        values["processed_at"] = now
    connection.execute(
        update(webhook_events).where(_columns.job_id == job.id, _columns.status.in_(OPEN)).values(values)
    )


def relink(connection: Connection, old_job: str, new_job: str) -> None:
    """Link the events of one job to another job; any run of that one completes them."""
    connection.execute(
        update(webhook_events).where(_columns.job_id == old_job).values(job_id=new_job, job_version=1)
    )


def reopen(connection: Connection, job_id: str) -> None:
    """Mark the failed events of a job as pending again."""
    connection.execute(
        update(webhook_events)
        .where(_columns.job_id == job_id, _columns.status == "failed")
        .values(status="pending", processed_at=None)
    )


def discard(connection: Connection, job_id: str, reason: str, now: datetime) -> None:
    """Mark the events of a discarded job as failed, with the reason."""
    connection.execute(
        update(webhook_events)
        .where(_columns.job_id == job_id, _columns.status.in_((*OPEN, "failed")))
        .values(
            status="failed",
            processed_at=now,
            error_message=literal(f"discarded: {reason}; was: ")
            + func.coalesce(_columns.error_message, "no error"),
        )
    )


def restore_failed(connection: Connection, job_id: str, error: str | None, failed_at: datetime) -> None:
    """Undo `discard`: the events have failed with the last error of their job."""
    connection.execute(
        update(webhook_events)
        .where(_columns.job_id == job_id, _columns.status == "failed")
        .values(error_message=error, processed_at=failed_at)
    )


def redact_activity(connection: Connection, activity_id: int) -> None:
    """Remove the words of a deleted activity from the payloads of its events."""
    of_activity = and_(_columns.object_type == "activity", _columns.object_id == activity_id)
    _redact(connection, _PAYLOADS.where(of_activity))


def redact_unless_stored(connection: Connection, activity_ids: Iterable[int]) -> None:
    """Remove the words of activities that are deleted, or were never stored, from their events.

    An event that comes after the deletion carries a title, too.
    """
    _redact(connection, _WORDS_WITHOUT_ACTIVITY, {"activities": sorted(activity_ids)})


def is_open(before: datetime) -> ColumnElement[bool]:
    """Match older events that still wait for their fetch."""
    return and_(_columns.created_at < before, _columns.status.in_(OPEN))


def is_finished(before: datetime, statuses: Sequence[str]) -> ColumnElement[bool]:
    """Match older events with one of these statuses."""
    # An expression, because SQLite would otherwise read all events of these statuses by their index.
    return and_(_columns.created_at < before, func.coalesce(_columns.status, "").in_(statuses))


def redact(connection: Connection, event_ids: Sequence[str]) -> int:
    """Remove the words from these events; return how many had some."""
    return _redact(connection, _PAYLOADS.where(_columns.id.in_(event_ids)))


def _redact(connection: Connection, query: Select[Any], parameters: Mapping[str, Any] | None = None) -> int:
    count = 0
    for row in connection.execute(query, parameters or {}).all():
        payload = redacted(row.event_data)
        if payload == row.event_data:
            continue
        waits = row.job_id is None and row.status == "pending"
        if waits and connection.execute(_LOCK_IF_FREE, {"event": row.id}).first() is None:
            # The dispatcher holds it, and may wait for a job of ours. The job of the event removes the words.
            continue
        connection.execute(update(webhook_events).where(_columns.id == row.id).values(event_data=payload))
        count += 1
    return count


def keep_proof(connection: Connection, event_id: str, now: datetime) -> bool:
    """Complete the event that proves a departure; it stays without words. Return whether it is stored."""
    proof = _columns.id == event_id
    _redact(connection, _PAYLOADS.where(proof))
    completed = {"status": "completed", "processed_at": now, "error_message": None}
    return connection.execute(update(webhook_events).where(proof).values(completed)).rowcount > 0


def listing(
    connection: Connection, *, status: str | None, limit: int, before_id: str | None
) -> Sequence[Row[Any]]:
    """Return a page of events, newest first."""
    query = select(webhook_events).where(is_visible(_columns.owner_id))
    query = query.order_by(_columns.id.desc()).limit(limit)
    if status:
        query = query.where(_columns.status == status)
    if before_id:
        query = query.where(_columns.id < before_id)
    return connection.execute(query).all()


def get(connection: Connection, event_id: str) -> Row[Any] | None:
    """Return the whole row."""
    query = select(webhook_events).where(_columns.id == event_id, is_visible(_columns.owner_id))
    return connection.execute(query).first()


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of events in each status."""
    query = select(_columns.status, func.count()).group_by(_columns.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def last_received(connection: Connection) -> datetime | None:
    """Return when the newest event was received."""
    return connection.execute(select(func.max(_columns.created_at))).scalar()


def oldest_open(connection: Connection) -> datetime | None:
    """Return when the oldest event was received whose object is not up to date yet."""
    return connection.execute(_OLDEST_OPEN).scalar()


def rejected_count(connection: Connection) -> int:
    """Count the events whose claims Strava denied."""
    return connection.execute(select(func.count()).select_from(rejected_claims)).scalar_one()
