"""Browser sessions that ended before their cookies expire."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from .engine.dialect import insert_into
from .schema.tables import deletion_receipts, ended_sessions


def end(connection: Connection, session_id: str, now: datetime, forget_before: datetime) -> None:
    """Store that a session has ended, and forget those whose cookies have expired since."""
    connection.execute(delete(ended_sessions).where(ended_sessions.c.ended_at < forget_before))
    connection.execute(
        insert_into(connection, ended_sessions)
        .values(id=session_id, ended_at=now)
        .on_conflict_do_nothing(index_elements=["id"])
    )


def is_ended(connection: Connection, session_id: str) -> bool:
    query = select(ended_sessions.c.id).where(ended_sessions.c.id == session_id)
    return connection.execute(query).first() is not None


def departures(connection: Connection, athlete_id: int) -> int:
    """Return how many times an athlete has left. Each time ends all their sessions."""
    query = select(func.count()).where(deletion_receipts.c.athlete_id == athlete_id)
    return int(connection.execute(query).scalar_one())
