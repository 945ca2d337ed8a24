"""Accept each OAuth state once. A state is signed, so only its use is stored, not its issue.

Otherwise, every anonymous visit of `/connect` would write a row.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete

from .engine.dialect import insert_into
from .schema.tables import oauth_states

LIFETIME = timedelta(hours=1)
"""How long a state is valid, and therefore remembered after its use."""


def use(connection: Connection, state: str, now: datetime) -> bool:
    """Return whether this is the first use of a state; delete expired ones."""
    connection.execute(delete(oauth_states).where(oauth_states.c.created_at < now - LIFETIME))
    values = {"digest": hashlib.sha256(state.encode()).hexdigest(), "created_at": now}
    statement = insert_into(connection, oauth_states).values(values).on_conflict_do_nothing()
    return bool(connection.execute(statement).rowcount)
