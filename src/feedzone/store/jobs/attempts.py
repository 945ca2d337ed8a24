"""The story of a job: every attempt that failed, when, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from ...domain.ids import uuid7
from ...domain.job import Job
from ..schema.tables import job_attempts

KEPT = 50
"""What fails for months is asked for every few hours; its story must not grow for as long."""

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
    """The job has ended well, or was discarded: its story has no one to tell it to."""
    connection.execute(_FORGET, {"job": job_id})


def count(connection: Connection, job_id: str) -> int:
    query = select(func.count()).select_from(job_attempts).where(job_attempts.c.job_id == job_id)
    return connection.execute(query).scalar_one()


def relink(connection: Connection, old_job: str, new_job: str) -> None:
    """A later job goes on with the story."""
    connection.execute(update(job_attempts).where(job_attempts.c.job_id == old_job).values(job_id=new_job))


def shorten(connection: Connection, job_id: str) -> None:
    """Keep how the story began, and its latest attempts."""
    told = job_attempts.c
    mine = told.job_id == job_id
    first = select(told.id).where(mine).order_by(told.id).limit(1)
    latest = select(told.id).where(mine).order_by(told.id.desc()).limit(KEPT)
    connection.execute(delete(job_attempts).where(mine, told.id.not_in(first), told.id.not_in(latest)))


def of_job(connection: Connection, job_id: str) -> Sequence[Row[Any]]:
    """Oldest first."""
    query = select(job_attempts).where(job_attempts.c.job_id == job_id).order_by(job_attempts.c.id)
    return connection.execute(query).all()
