"""The failed attempts of a job: when each ended, and with which error."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from ...domain.ids import uuid7
from ...domain.job import Job
from ..engine.dialect import among
from ..schema.tables import job_attempts

MOST_ATTEMPTS = 50
"""The latest attempts to keep. A job that fails for months is retried every few hours."""

FORGET_ALL = delete(job_attempts).where(among(job_attempts.c.job_id, "ids"))
"""Remove the attempts of jobs that have succeeded."""

_FORGET = delete(job_attempts).where(job_attempts.c.job_id == bindparam("job"))


def note(connection: Connection, job: Job, error: str, kind: str, now: datetime) -> None:
    connection.execute(
        job_attempts.insert().values(
            id=uuid7(int(now.timestamp() * 1000)),
            job_id=job.id,
            athlete_id=job.athlete_id,
            ended_at=now,
            attempt=job.attempts + 1,
            error_class=kind,
            error=error,
        )
    )


def forget(connection: Connection, job_id: str) -> None:
    """Remove the attempts of a job that has succeeded or was discarded."""
    connection.execute(_FORGET, {"job": job_id})


def count(connection: Connection, job_id: str) -> int:
    query = select(func.count()).select_from(job_attempts).where(job_attempts.c.job_id == job_id)
    return connection.execute(query).scalar_one()


def relink(connection: Connection, old_job: str, new_job: str) -> None:
    """Give the attempts of an old job to the new job of the same object."""
    connection.execute(update(job_attempts).where(job_attempts.c.job_id == old_job).values(job_id=new_job))


def shorten(connection: Connection, job_id: str) -> None:
    """Keep the first attempt and the latest ones."""
    columns = job_attempts.c
    of_this_job = columns.job_id == job_id
    first = select(columns.id).where(of_this_job).order_by(columns.id).limit(1)
    latest = select(columns.id).where(of_this_job).order_by(columns.id.desc()).limit(MOST_ATTEMPTS)
    connection.execute(
        delete(job_attempts).where(of_this_job, columns.id.not_in(first), columns.id.not_in(latest))
    )


def of_job(connection: Connection, job_id: str) -> Sequence[Row[Any]]:
    """Return the attempts of a job, oldest first."""
    query = select(job_attempts).where(job_attempts.c.job_id == job_id).order_by(job_attempts.c.id)
    return connection.execute(query).all()
