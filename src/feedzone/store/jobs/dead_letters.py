"""Dead letters: failed jobs, stored with their attempts until a person retries or discards them.

An object has at most one. A later job that brings the object up to date resolves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ...domain.job import Job, Lane
from ...domain.outcome import PASSING
from .. import events
from ..batches import AT_ONCE, change_in_batches
from ..engine.database import Database
from ..engine.dialect import among
from ..quota.breaker import IS_OPEN
from ..schema.tables import IS_LIVE, jobs
from . import attempts

_columns = jobs.c
_live_jobs = jobs.alias("live")

NO_ACCESS = ("needs_scope", "token_rejected", "revoked", "not_connected")
"""Classes of failure (errors.py) that end when the athlete connects again."""

AUTO_RETRY_FIRST, AUTO_RETRY_MAX = timedelta(minutes=5), timedelta(hours=6)
"""The first and the longest delay before a dead letter of these classes is retried automatically."""

KEEP_DISCARDED = timedelta(days=1)
"""How long a discarded dead letter stays in the table."""

TRIES = 3
"""How often `requeue` looks again for a job that another process enqueues for the same object."""

_TWINS = select(_columns.id).where(
    _columns.kind == bindparam("kind"),
    _columns.key == bindparam("object"),
    _columns.athlete_id == bindparam("athlete"),
    _columns.state == "dead",
)
_DEAD = select(_columns.id, _columns.kind, _columns.key, _columns.athlete_id).where(
    among(_columns.key, "keys"), _columns.state == "dead"
)


def _twins(connection: Connection, job: Job) -> Sequence[str]:
    same = {"kind": job.kind, "object": job.key, "athlete": job.athlete_id}
    return connection.execute(_TWINS, same).scalars().all()


def resolve(connection: Connection, done: Sequence[Job], now: datetime) -> None:
    """Remove earlier dead letters of the objects that these jobs have brought up to date."""
    same = {(job.kind, job.key, job.athlete_id) for job in done}
    dead = connection.execute(_DEAD, {"keys": sorted({job.key for job in done})}).all()
    for twin in [row.id for row in dead if (row.kind, row.key, row.athlete_id) in same]:
        connection.execute(delete(jobs).where(_columns.id == twin))
        attempts.forget(connection, twin)
        events.complete(connection, twin, None, "brought up to date by a later job", now)


def merge_earlier(connection: Connection, job: Job, kind: str, now: datetime) -> datetime:
    """Move the events and attempts of the object's earlier dead letters to this job, which becomes one.

    Return when to retry automatically if the failure is transient. The delay doubles, so a failure that lasts
    for days costs few calls.
    """
    for twin in _twins(connection, job):
        events.relink(connection, twin, job.id)
        attempts.relink(connection, twin, job.id)
        connection.execute(delete(jobs).where(_columns.id == twin))
    attempts.shorten(connection, job.id)
    if kind not in PASSING:
        return now
    rounds = attempts.count(connection, job.id) // (job.attempts + 1) - 1
    wait: timedelta = AUTO_RETRY_FIRST * 2 ** max(0, min(rounds, 10))
    return now + min(AUTO_RETRY_MAX, wait)


def _auto_retries() -> Select[Any]:
    """Select the dead letters to retry automatically: a transient failure, and no live job for the object.

    Select none while the circuit breaker is open: an outage must not use up their retries.
    """
    live = _live_jobs.c
    followed = exists().where(
        live.kind == _columns.kind,
        live.key == _columns.key,
        live.athlete_id == _columns.athlete_id,
        live.state.in_(("queued", "running")),
    )
    paused = exists().where(IS_OPEN)
    return select(_columns.id).where(
        _columns.state == "dead",
        _columns.error_class.in_(PASSING),
        _columns.due_at <= bindparam("now"),
        ~followed,
        ~paused,
    )


# Frequent statements are built once: building one takes longer than running it.
_ANY_AUTO_RETRY = _auto_retries().limit(1)
_AUTO_RETRIES = _auto_retries().order_by(_columns.due_at, _columns.id).limit(bindparam("most"))


def any_auto_retry(connection: Connection, now: datetime) -> bool:
    return connection.execute(_ANY_AUTO_RETRY, {"now": now}).first() is not None


def auto_retry_due(connection: Connection, now: datetime, limit: int) -> int:
    """Retry dead letters whose automatic retry is due, each in its own lane; return how many."""
    letters: Sequence[str] = connection.execute(_AUTO_RETRIES, {"now": now, "most": limit}).scalars().all()
    return sum(requeue(connection, letter, now, sooner=False) for letter in letters)


def of_class(error_class: str | None) -> ColumnElement[bool]:
    """Match dead letters: all, or those of one class of failure."""
    is_dead = _columns.state == "dead"
    return is_dead if error_class is None else and_(is_dead, _columns.error_class == error_class)


def listing(connection: Connection, error_class: str | None = None) -> Sequence[Row[Any]]:
    """Return dead letters, oldest first: all, or those of one class of failure."""
    return connection.execute(select(jobs).where(of_class(error_class)).order_by(_columns.id)).all()


def requeue(connection: Connection, job_id: str, now: datetime, *, sooner: bool = True) -> bool:
    """Retry a dead letter with all its attempts. With `sooner` it runs at least in the interactive lane.

    Return False when there is no such dead letter.
    """
    row = connection.execute(select(jobs).where(_columns.id == job_id, _columns.state == "dead")).first()
    if row is None:
        return False
    for attempt in range(1, TRIES + 1):
        if _hurry_live(connection, row, now):
            # The object has a live job, which resolves this dead letter when it succeeds.
            return True
        try:
            with connection.begin_nested():
                revived = _revive(connection, job_id, now, sooner=sooner)
        except IntegrityError:
            # Another process has just enqueued a job of the same object.
            if attempt == TRIES:
                raise
        else:
            break
    if revived:
        events.reopen(connection, job_id)
    return revived


def _hurry_live(connection: Connection, letter: Row[Any], now: datetime) -> bool:
    """Make the live job of a dead letter's object run now, or once more. Return False if there is none."""
    live = (
        update(jobs)
        .where(
            _columns.kind == letter.kind,
            _columns.key == letter.key,
            _columns.athlete_id == letter.athlete_id,
            IS_LIVE,
        )
        .values(version=_columns.version + 1, due_at=now)
    )
    return connection.execute(live).rowcount > 0


def _revive(connection: Connection, job_id: str, now: datetime, *, sooner: bool) -> bool:
    """Queue the dead letter again. Return False if it is none any more."""
    lane = case((_columns.priority > Lane.INTERACTIVE, int(Lane.INTERACTIVE)), else_=_columns.priority)
    values = {"state": "queued", "attempts": 0, "due_at": now, "updated_at": now}
    dead = update(jobs).where(_columns.id == job_id, _columns.state == "dead")
    return connection.execute(dead.values(values | ({"priority": lane} if sooner else {}))).rowcount == 1


def of_denied(athlete_id: int) -> ColumnElement[bool]:
    """Match an athlete's dead letters that failed without access or may pass."""
    denied = _columns.error_class.in_((*NO_ACCESS, *PASSING))
    return and_(_columns.state == "dead", _columns.athlete_id == athlete_id, denied)


def requeue_denied(connection: Connection, athlete_id: int, now: datetime) -> int:
    """Retry the first dead letters of `of_denied`, backfills before others; return how many."""
    backfills_first = _columns.kind != "backfill_athlete"
    query = select(_columns.id).where(of_denied(athlete_id)).order_by(backfills_first, _columns.id)
    letters = connection.execute(query.limit(AT_ONCE)).scalars().all()
    return sum(requeue(connection, letter, now) for letter in letters)


async def requeue_all(database: Database, which: ColumnElement[bool], now: datetime) -> int:
    """Retry these dead letters, a few per transaction; return how many."""

    def change(connection: Connection, job_ids: Sequence[str]) -> int:
        return sum(requeue(connection, job_id, now) for job_id in job_ids)

    return await change_in_batches(database, jobs, and_(_columns.state == "dead", which), change)


def discard(connection: Connection, job_id: str, reason: str, now: datetime) -> bool:
    """Discard a dead letter; its events say why. Return False when there is no such dead letter.

    The row stays for KEEP_DISCARDED, so that `restore` can undo this.
    """
    dead = update(jobs).where(_columns.id == job_id, _columns.state == "dead")
    if not connection.execute(dead.values(state="discarded", discarded_at=now)).rowcount:
        return False
    events.discard(connection, job_id, reason, now)
    return True


def restore(connection: Connection, job_id: str, discarded_since: datetime) -> bool:
    """Undo `discard`: the dead letter is back with its attempts and its events.

    Return False when there is nothing to undo: it was discarded before `discarded_since`, or the athlete has
    left.
    """
    discarded = update(jobs).where(
        _columns.id == job_id,
        _columns.state == "discarded",
        _columns.discarded_at >= discarded_since,
    )
    row = connection.execute(
        discarded.values(state="dead", discarded_at=None).returning(_columns.last_error, _columns.updated_at)
    ).first()
    if row is None:
        return False
    events.restore_failed(connection, job_id, row.last_error, row.updated_at)
    return True


def discarded_long_ago(now: datetime) -> ColumnElement[bool]:
    """Match the jobs that were discarded more than KEEP_DISCARDED ago."""
    return and_(_columns.state == "discarded", _columns.discarded_at < now - KEEP_DISCARDED)


def remove(connection: Connection, job_ids: Sequence[str]) -> int:
    """Remove discarded jobs with their attempts; return how many."""
    discarded = delete(jobs).where(_columns.id.in_(job_ids), _columns.state == "discarded")
    removed = connection.execute(discarded.returning(_columns.id)).scalars().all()
    for job_id in removed:
        attempts.forget(connection, job_id)
    return len(removed)
