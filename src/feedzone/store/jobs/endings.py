"""How the runs of jobs end: under a valid lease, with effects, completed or put off.

Runs that end at the same time share a transaction (queue.py). Its statements are those of one run, for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from ...domain.effect import (
    AskForPhotos,
    CountFruitless,
    Effect,
    KeepSummary,
    NoteFailure,
    RecordRejectedClaim,
    StoreDetail,
    StoreStreams,
)
from ...domain.event import MAX_DEBOUNCE
from ...domain.job import Job
from ...domain.outcome import Continue, Discard, Done, Outcome, Retry, Snooze
from .. import events
from ..engine.dialect import among
from ..schema.tables import jobs
from . import attempts, dead_letters, fairness
from .lifecycle import enqueue, hint_columns

WAITS_FOR_PROOF = ("unproven", "list_first")

OF_ONE_ACTIVITY = (
    StoreDetail,
    StoreStreams,
    AskForPhotos,
    CountFruitless,
    KeepSummary,
    NoteFailure,
    RecordRejectedClaim,
)
"""Effects on the job's own activity. They remove no job, and can share a transaction with others."""

Apply = Callable[[Connection, Sequence[Effect]], None]

_columns = jobs.c

# Frequent statements are built once: building one takes longer than running it.
_LEASED = (
    select(_columns.id, _columns.version, _columns.due_at, _columns.lease_owner)
    .where(among(_columns.id, "ids"), _columns.state == "running")
    .order_by(_columns.id)
    .with_for_update()
)
_EXISTS = select(_columns.id).where(_columns.id == bindparam("job"))
_CHANGE = update(jobs).where(_columns.id == bindparam("job"))
_DELETE = delete(jobs).where(among(_columns.id, "ids"))


@cache
def _delete(dialect: str) -> tuple[Any, ...]:
    """Return the statements that delete jobs with their attempts.

    Differs because only PostgreSQL takes both as one.
    """
    if dialect != "postgresql":
        return _DELETE, attempts.FORGET_ALL
    return (_DELETE.add_cte(attempts.FORGET_ALL.cte("forgotten")),)


class Ending(NamedTuple):
    """A run that has ended, and how long its job waits if it is retried."""

    job: Job
    outcome: Outcome
    retry_delay: timedelta


class _Ended(NamedTuple):
    """An ending with a valid lease. `again`: when the job runs again, for events that came meanwhile."""

    job: Job
    outcome: Outcome
    retry_at: datetime
    again: datetime | None

    @property
    def overtaken(self) -> bool:
        return self.again is not None


def is_of_one_activity(outcome: Outcome) -> bool:
    """Return whether the outcome may share a transaction."""
    if_last = outcome.if_last if isinstance(outcome, (Retry, Discard)) else ()
    return all(isinstance(effect, OF_ONE_ACTIVITY) for effect in (*outcome.effects, *if_last))


def finish_all(
    connection: Connection, endings: Sequence[Ending], *, now: datetime, max_attempts: int, apply: Apply
) -> list[bool]:
    """End runs and apply their effects. For a run whose lease was lost, change nothing and return False.

    All jobs are locked first, in one order, and activities before athletes (effects.py): otherwise the groups
    of two processes would deadlock.
    """
    rows = connection.execute(_LEASED, {"ids": sorted(ending.job.id for ending in endings)})
    leased = {row.id: row for row in rows}
    ended = [
        _ended(ending, row, now)
        for ending in endings
        if (row := leased.get(ending.job.id)) is not None and row.lease_owner == ending.job.lease_owner
    ]
    if ended:
        apply(connection, [effect for each in ended for effect in _effects(each, max_attempts)])
        _end(connection, [each for each in ended if _is_there(connection, each)], now, max_attempts)
    finished = {each.job.id for each in ended}
    return [ending.job.id in finished for ending in endings]


def _ended(ending: Ending, current: Any, now: datetime) -> _Ended:
    job = ending.job
    overtaken = current.version > job.version
    again = max(now, current.due_at) if overtaken else None
    return _Ended(job, ending.outcome, now + ending.retry_delay, again)


def _effects(ended: _Ended, max_attempts: int) -> tuple[Effect, ...]:
    outcome = ended.outcome
    if not isinstance(outcome, (Retry, Discard)) or ended.overtaken:
        return outcome.effects
    return outcome.effects + (outcome.if_last if is_last_attempt(ended.job, outcome, max_attempts) else ())


def _is_there(connection: Connection, ended: _Ended) -> bool:
    """Return whether the job is still there: the effects remove it when the athlete has left."""
    if is_of_one_activity(ended.outcome):
        return True
    return connection.execute(_EXISTS, {"job": ended.job.id}).first() is not None


def _end(connection: Connection, ended: Sequence[_Ended], now: datetime, max_attempts: int) -> None:
    done = []
    for each in ended:
        job, outcome, again = each.job, each.outcome, each.again
        match outcome:
            case Done():
                done.append(each)
            case Continue(hint=hint, lane=lane):
                fresh: dict[str, Any] = {"attempts": 0, "last_error": None}
                if not each.overtaken:
                    fresh |= hint_columns(job.kind, hint)
                if lane is not None:
                    fresh |= {"priority": int(lane), "fair_position": fairness.first(connection, lane)}
                _requeue(connection, job, again or now, now, fresh)
                events.mark_pending(connection, [job.id])
            case Snooze():
                _snooze(connection, each, outcome, now)
            case Retry(hint=hint):
                dead = job.attempts + 1 >= max_attempts
                _failed(connection, each, outcome, now, again or each.retry_at, dead=dead)
                if hint is not None and not each.overtaken:
                    connection.execute(_CHANGE, {"job": job.id, **hint_columns(job.kind, hint)})
            case Discard():
                _failed(connection, each, outcome, now, now, dead=True)
    if done:
        _complete(connection, done, now)


def _snooze(connection: Connection, ended: _Ended, outcome: Snooze, now: datetime) -> None:
    job = ended.job
    changes: dict[str, Any] = {"last_error": outcome.reason}
    if not ended.overtaken:
        changes["wait_reason"] = outcome.wait_reason
        if job.kind == "refresh_activity" and outcome.wait_reason in WAITS_FOR_PROOF:
            changes["hint_time"] = 0  # whatever else asks for the activity replaces the hint
        # The place where an older run stopped must not replace a newer hint.
        if outcome.hint is not None:
            changes |= hint_columns(job.kind, outcome.hint)
    _requeue(connection, job, ended.again or outcome.until, now, changes)
    events.mark_pending(connection, [job.id])


def _complete(connection: Connection, ended: Sequence[_Ended], now: datetime) -> None:
    """Delete the jobs, or run them again for newer events; complete their events and resolve dead letters."""
    over = [each.job.id for each in ended if not each.overtaken]
    if over:
        for statement in _delete(connection.dialect.name):
            connection.execute(statement, {"ids": over})
    for each in ended:
        if each.again is not None:
            fresh = {"attempts": 0, "last_error": None, "debounce_until": now + MAX_DEBOUNCE}
            _requeue(connection, each.job, each.again, now, fresh)
    notes = [(each.job, each.outcome) for each in ended if isinstance(each.outcome, Done)]
    events.complete_all(
        connection, [(job.id, job.version, done.note, done.about) for job, done in notes], now
    )
    _forget_words(connection, ended)
    dead_letters.resolve(connection, [each.job for each in ended], now)
    # If newer events came, the next run decides about further jobs.
    gone = set(over)
    enqueue(connection, (spec for job, done in notes if job.id in gone for spec in done.then), now)


def _forget_words(connection: Connection, ended: Sequence[_Ended]) -> None:
    """Leave no words of an activity in its events if it is not stored, or not any more."""
    activities = [
        each.job.object_id
        for each in ended
        if each.job.kind == "refresh_activity"
        and not any(isinstance(effect, StoreDetail) for effect in each.outcome.effects)
    ]
    if activities:
        events.redact_unless_stored(connection, activities)


def is_last_attempt(job: Job, outcome: Outcome, max_attempts: int) -> bool:
    """Return whether this outcome makes the job a dead letter."""
    return isinstance(outcome, Discard) or (isinstance(outcome, Retry) and job.attempts + 1 >= max_attempts)


def _failed(
    connection: Connection,
    ended: _Ended,
    outcome: Retry | Discard,
    now: datetime,
    due: datetime,
    *,
    dead: bool,
) -> None:
    job = ended.job
    error = outcome.error if isinstance(outcome, Retry) else outcome.reason
    attempts.note(connection, job, error, outcome.kind, now)
    changes: dict[str, Any] = {
        "attempts": job.attempts + 1,
        "last_error": error,
        "error_class": outcome.kind,
        "http_status": outcome.http_status,
    }
    if dead and not ended.overtaken:
        auto_retry_at = dead_letters.merge_earlier(connection, job, outcome.kind, now)
        changes |= {"state": "dead", "lease_owner": None, "lease_until": None, "updated_at": now}
        connection.execute(_CHANGE, {"job": job.id, "due_at": auto_retry_at, **changes})
        _forget_words(connection, [ended])
    else:
        # Events that came during the run get all attempts.
        changes |= {"attempts": 0} if dead else {}
        changes |= {} if ended.overtaken else {"wait_reason": "retry"}
        _requeue(connection, job, due, now, changes)
    events.note_failure(connection, job, error, final=dead and not ended.overtaken, now=now)


def _requeue(connection: Connection, job: Job, due: datetime, now: datetime, changes: dict[str, Any]) -> None:
    values = {"state": "queued", "lease_owner": None, "lease_until": None, "due_at": due, "updated_at": now}
    connection.execute(_CHANGE, {"job": job.id, **values, **changes})
