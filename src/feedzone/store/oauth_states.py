"""Store one-time OAuth states: only a browser that feedzone sent to Strava brings one back."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete

from ..domain.athlete import Consent
from .schema.tables import oauth_states

LIFETIME = timedelta(hours=1)


def issue(connection: Connection, state: str, now: datetime, operator_may_see: bool | None = None) -> None:
    """Store a new state with the athlete's choice, and delete expired states."""
    connection.execute(delete(oauth_states).where(oauth_states.c.created_at < now - LIFETIME))
    values = {"digest": _digest(state), "created_at": now, "operator_may_see": operator_may_see}
    connection.execute(oauth_states.insert().values(values))


def redeem(connection: Connection, state: str, now: datetime) -> Consent | None:
    """Return the consent of a state that was issued within LIFETIME, once; else None."""
    statement = (
        delete(oauth_states)
        .where(oauth_states.c.digest == _digest(state), oauth_states.c.created_at >= now - LIFETIME)
        .returning(oauth_states.c.operator_may_see)
    )
    row = connection.execute(statement).first()
    return None if row is None else Consent(row.operator_may_see)


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
