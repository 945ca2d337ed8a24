"""One-time OAuth states: a callback is ours only if we sent the browser away with its state."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete

from .schema import oauth_states

LIFETIME = timedelta(hours=1)


def issue(connection: Connection, state: str, now: datetime) -> None:
    connection.execute(delete(oauth_states).where(oauth_states.c.created_at < now - LIFETIME))
    connection.execute(oauth_states.insert().values(digest=_digest(state), created_at=now))


def redeem(connection: Connection, state: str, now: datetime) -> bool:
    """True once for each state that was issued within LIFETIME."""
    statement = delete(oauth_states).where(
        oauth_states.c.digest == _digest(state), oauth_states.c.created_at >= now - LIFETIME
    )
    return connection.execute(statement).rowcount == 1


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
