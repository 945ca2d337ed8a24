"""What is finished and old goes: RETENTION_DAYS."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete

from ..ports import Clock
from .database import Database
from .schema import activity_changes, sweeps, token_uses, webhook_events


class Retention:
    """Keeps finished webhook events, the audit trail, comparisons and the log of token uses for `days`."""

    def __init__(self, database: Database, clock: Clock, days: int) -> None:
        self._database = database
        self._clock = clock
        self._age = timedelta(days=days)

    async def prune(self) -> int:
        """Remove what is older; returns the number of rows. What waits or failed stays, however old."""
        before = self._clock.now() - self._age

        def body(connection: Connection) -> int:
            finished = webhook_events.c.status.in_(("completed", "ignored"))
            statements = (
                delete(webhook_events).where(finished, webhook_events.c.processed_at < before),
                delete(activity_changes).where(activity_changes.c.changed_at < before),
                delete(token_uses).where(token_uses.c.used_at < before),
                delete(sweeps).where(sweeps.c.ended_at < before),
            )
            return sum(connection.execute(statement).rowcount for statement in statements)

        return await self._database.write(body)
