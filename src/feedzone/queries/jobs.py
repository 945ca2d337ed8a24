"""Jobs: waiting, running, and dead letters with the attempts that failed."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..domain.job import Lane, RefreshHint, RevokeHint, decode_hint
from ..domain.job_kinds import JobKind
from ..domain.outcome import PASSING
from ..ports import Clock
from ..store.engine.database import Connection, Database, Row
from ..store.jobs import attempts, lifecycle
from ..store.reads import dashboard
from ..store.reads import jobs as job_lists
from .athletes import names_of
from .paging import Cursor, id_cursor, page_of
from .rows import from_row, require

JobState = Literal["queued", "running", "dead"]

LETTERS_A_GROUP = 20


class Job(Struct, frozen=True, kw_only=True):
    """A job that waits, runs, or is a dead letter (`dead`). `attempts` are failed runs."""

    id: str
    kind: JobKind
    key: str
    athlete_id: int
    state: JobState
    action: Annotated[str | None, Meta(description="refresh, delete, confirm, revoke")]
    cause: str | None
    lane: str
    due_at: datetime
    attempts: int
    version: int
    lease_owner: str | None
    lease_until: datetime | None
    last_error: str | None
    error_class: Annotated[str | None, Meta(description="groups failures")]
    http_status: Annotated[int | None, Meta(description="the status of the failed request")]
    first_received_at: datetime
    updated_at: datetime


class Attempt(Struct, frozen=True):
    """One attempt that failed."""

    attempt: int
    ended_at: datetime
    error_class: str
    error: str


class Wait(Struct, frozen=True):
    """The time until which a job waits, and the reason."""

    until: datetime
    reason: str


class JobStory(Struct, frozen=True):
    """A job, and its failed attempts, oldest first."""

    job: Job
    attempts: list[Attempt]


class JobPage(Struct, frozen=True):
    """Jobs, oldest first."""

    items: list[Job]
    next_cursor: Cursor | None = None


class DeadLetter(Struct, frozen=True):
    job: Job
    athlete: str | None
    attempts: list[Attempt]


class FailureGroup(Struct, frozen=True):
    """Dead letters of one error class: their number, and the latest of them."""

    error_class: str
    count: int
    letters: list[DeadLetter]
    passes: bool
    """The failure is transient: each dead letter is retried automatically when its job is due."""


class JobQueries:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(self, state: str | None = None, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Return jobs, oldest first."""
        last = id_cursor(cursor)
        query = partial(job_lists.listing, state=state, limit=limit + 1, after_id=last)
        rows = await self._database.read(query)
        return page_of(JobPage, rows, limit, job_from, lambda row: row.id)

    async def get(self, job_id: str) -> JobStory:
        """Return one job with the attempts that failed, oldest first. Raises NotFound."""

        def body(connection: Connection) -> JobStory:
            row = require(lifecycle.get(connection, job_id), f"there is no job {job_id}")
            return JobStory(job_from(row), _attempts(connection, job_id))

        return await self._database.read(body)

    async def wait_of(self, athlete_id: int) -> Wait | None:
        """Return what all of an athlete's jobs wait for; None where a job is due or runs, or none is left."""
        now = self._clock.now()
        row = await self._database.read(lambda c: job_lists.next_wait(c, athlete_id, now))
        return None if row is None else Wait(row.due_at, row.last_error)

    async def any_due_reconciliation(self) -> bool:
        now = self._clock.now()
        return await self._database.read(lambda c: job_lists.any_due_reconciliation(c, now))

    async def failure_groups(self) -> list[FailureGroup]:
        """Return dead letters by error class, the largest group first."""

        def body(connection: Connection) -> list[FailureGroup]:
            return [
                FailureGroup(
                    error_class,
                    count,
                    _letters(connection, error_class),
                    error_class in PASSING,
                )
                for error_class, count in dashboard.failure_counts(connection).items()
            ]

        return await self._database.read(body)


def job_from(row: Row[Any]) -> Job:
    """Of the hint only the fields that are named here: it may hold an encrypted token."""
    hint = decode_hint(row.hint)
    action, cause = (hint.action, hint.cause) if isinstance(hint, RefreshHint | RevokeHint) else (None, None)
    return from_row(row, Job, action=action, cause=cause or None, lane=Lane(row.priority).name.lower())


def attempt_from(row: Row[Any]) -> Attempt:
    return from_row(row, Attempt)


def _attempts(connection: Connection, job_id: str) -> list[Attempt]:
    return [attempt_from(row) for row in attempts.of_job(connection, job_id)]


def _letters(connection: Connection, error_class: str) -> list[DeadLetter]:
    rows = dashboard.dead_letters_of(connection, error_class, LETTERS_A_GROUP)
    names = names_of(connection, (row.athlete_id for row in rows))
    return [
        DeadLetter(job_from(row), names.get(row.athlete_id), _attempts(connection, row.id)) for row in rows
    ]
