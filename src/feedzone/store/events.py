"""Webhook events: what Strava told us, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    String,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    update,
)

from ..domain.event import redacted
from ..domain.job import Job
from .engine.dialect import insert_for
from .schema.tables import rejected_claims, strava_activities, webhook_events

OPEN = ("pending", "processing")


_columns = webhook_events.c

# Statements of every job's way are built once: to build one takes longer than to run it.
_BEGUN = (
    update(webhook_events)
    .where(_columns.job_id == bindparam("job"), _columns.status == "pending")
    .values(status="processing", attempts=_columns.attempts + 1)
)
_GIVEN_BACK = (
    update(webhook_events)
    .where(_columns.job_id == bindparam("job"), _columns.status == "processing")
    .values(status="pending", attempts=_columns.attempts - 1)
)
_CROWDED = (
    select(_columns.owner_id)
    .outerjoin(strava_activities, strava_activities.c.id == _columns.object_id)
    .where(
        _columns.owner_id.in_(bindparam("athletes", expanding=True)),
        _columns.status == literal_column("'pending'"),  # as the partial index has it
        _columns.object_type == "activity",
        _columns.aspect_type == "create",
        strava_activities.c.id.is_(None),
    )
    .group_by(_columns.owner_id)
    .having(func.count(_columns.object_id.distinct()) >= bindparam("least"))
)
_UPDATES_THAT_WAIT = (
    select(_columns.owner_id, func.count(_columns.object_id.distinct()).label("activities"))
    .where(
        _columns.owner_id.in_(bindparam("athletes", expanding=True)),
        _columns.status == literal_column("'pending'"),  # as the partial index has it
        _columns.object_type == "activity",
        _columns.aspect_type == "update",
    )
    .group_by(_columns.owner_id)
)
_IN_STORM = select(strava_activities.c.id).where(
    strava_activities.c.id.in_(bindparam("ids", expanding=True)),
    strava_activities.c.last_fetched_at >= bindparam("since"),
    exists().where(
        _columns.object_id == strava_activities.c.id,
        _columns.object_type == "activity",
        _columns.aspect_type == "update",
        _columns.created_at >= bindparam("since"),
        _columns.created_at <= strava_activities.c.last_fetched_at,
    ),
)
_ANSWERED = (
    update(webhook_events)
    .where(_columns.job_id == bindparam("job"), _columns.status.in_((*OPEN, "failed")))
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
_ANSWERED_UPTO = _ANSWERED.where(_columns.job_version <= bindparam("upto"))


_LINK = (
    update(webhook_events)
    .where(_columns.id == bindparam("event"))
    .values(job_id=bindparam("job"), job_version=bindparam("version"))
)


@cache
def _insert_new(dialect: str) -> Any:
    statement = insert_for(dialect, webhook_events).on_conflict_do_nothing(index_elements=["dedup_key"])
    return statement.returning(_columns.id)


def insert_new(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert events, but for those that were delivered before; returns the ids of the new ones."""
    return set(connection.execute(_insert_new(connection.dialect.name), rows).scalars())


def link_jobs(connection: Connection, jobs_by_event: Mapping[str, Row[Any]]) -> None:
    """Note with each event which job, and which version of it, will bring its object up to date."""
    links = [
        {"event": event_id, "job": job.id, "version": job.version} for event_id, job in jobs_by_event.items()
    ]
    connection.execute(_LINK, links)


def crowded(connection: Connection, athlete_ids: Iterable[int], *, least: int) -> list[int]:
    """Athletes of whom at least so many activities were announced, and neither fetched nor listed yet."""
    asked = {"athletes": sorted(athlete_ids), "least": least}
    return list(connection.execute(_CROWDED, asked).scalars())


def updates_that_wait(connection: Connection, athlete_ids: Iterable[int]) -> Counter[int]:
    """Of how many of each athlete's activities updates wait."""
    rows = connection.execute(_UPDATES_THAT_WAIT, {"athletes": sorted(athlete_ids)})
    return Counter({row.owner_id: row.activities for row in rows})


def recently_refetched(connection: Connection, ids: Iterable[int], since: datetime) -> set[int]:
    """The activities of which an update came since then, and that were fetched after it: first results are
    there, and more may be to come."""
    return set(connection.execute(_IN_STORM, {"ids": sorted(ids), "since": since}).scalars())


def mark_processing(connection: Connection, job_ids: Sequence[str]) -> None:
    if job_ids:
        connection.execute(_BEGUN, [{"job": job_id} for job_id in job_ids])


def mark_pending(connection: Connection, job_ids: Sequence[str]) -> None:
    """The run that had begun does not count: it had to wait, or was given back."""
    if job_ids:
        connection.execute(_GIVEN_BACK, [{"job": job_id} for job_id in job_ids])


def complete(
    connection: Connection,
    job_id: str,
    version: int | None,
    note: str | None,
    now: datetime,
    *,
    about: str | None = None,
) -> None:
    """The object is up to date with every event up to `version` of the job (None: with all of them). The
    note stands at those that it is `about` (None: at all)."""
    statement = _ANSWERED if version is None else _ANSWERED_UPTO
    upto = {} if version is None else {"upto": version}
    told = {"note": note, "about": about}
    connection.execute(statement, {"job": job_id, "now": now, **told, **upto})


def complete_one(connection: Connection, event_id: str, now: datetime) -> None:
    """The event that said the athlete leaves: true, and done."""
    connection.execute(
        update(webhook_events)
        .where(_columns.id == event_id)
        .values(status="completed", processed_at=now, error_message=None)
    )


def note_failure(connection: Connection, job: Job, error: str, *, final: bool, now: datetime) -> None:
    """A run ended without success: back to pending, or failed for good."""
    values: dict[str, Any] = {"status": "failed" if final else "pending", "error_message": error}
    if final:
        values["processed_at"] = now
    connection.execute(
        update(webhook_events).where(_columns.job_id == job.id, _columns.status.in_(OPEN)).values(values)
    )


def relink(connection: Connection, old_job: str, new_job: str) -> None:
    """These events are now another job's to answer; any version of it will do."""
    connection.execute(
        update(webhook_events).where(_columns.job_id == old_job).values(job_id=new_job, job_version=1)
    )


def reopen(connection: Connection, job_id: str) -> None:
    connection.execute(
        update(webhook_events)
        .where(_columns.job_id == job_id, _columns.status == "failed")
        .values(status="pending", processed_at=None)
    )


def discard(connection: Connection, job_id: str, reason: str, now: datetime) -> None:
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
    """A deleted activity's title must not live on in the payloads of its update events."""
    of_it = and_(_columns.object_type == "activity", _columns.object_id == activity_id)
    query = select(_columns.id, _columns.event_data).where(of_it, _columns.aspect_type == "update")
    for row in connection.execute(query).all():
        kept = redacted(row.event_data)
        connection.execute(update(webhook_events).where(_columns.id == row.id).values(event_data=kept))


def purge_athlete(connection: Connection, athlete_id: int, keep_event: str | None) -> int:
    """Remove the athlete's raw payloads; only the event that proves why may stay."""
    mine = [_columns.owner_id == athlete_id]
    if keep_event:
        mine.append(_columns.id != keep_event)
    return connection.execute(delete(webhook_events).where(*mine)).rowcount


def listing(
    connection: Connection, *, status: str | None, limit: int, before_id: str | None
) -> Sequence[Row[Any]]:
    """Events, newest first."""
    query = select(webhook_events).order_by(_columns.id.desc()).limit(limit)
    if status:
        query = query.where(_columns.status == status)
    if before_id:
        query = query.where(_columns.id < before_id)
    return connection.execute(query).all()


def get(connection: Connection, event_id: str) -> Row[Any] | None:
    return connection.execute(select(webhook_events).where(_columns.id == event_id)).first()


def counts(connection: Connection) -> dict[str, int]:
    query = select(_columns.status, func.count()).group_by(_columns.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def unknown_owners(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Athletes whose events we ignore, with how many (pain 28)."""
    query = (
        select(
            _columns.owner_id,
            func.count().label("events"),
            func.max(_columns.created_at).label("last"),
        )
        .where(_columns.status == "ignored", _columns.ignored_because == "not_connected")
        .group_by(_columns.owner_id)
        .order_by(func.count().desc())
        .limit(limit)
    )
    return connection.execute(query).all()


def last_received(connection: Connection) -> datetime | None:
    """When the newest event came."""
    return connection.execute(select(func.max(_columns.created_at))).scalar()


def oldest_open(connection: Connection) -> datetime | None:
    """When the oldest event came whose object is not up to date yet."""
    query = select(func.min(_columns.created_at)).where(_columns.status.in_(OPEN))
    return connection.execute(query).scalar()


def forged_count(connection: Connection) -> int:
    """How many claims of events Strava has denied."""
    return connection.execute(select(func.count()).select_from(rejected_claims)).scalar_one()
