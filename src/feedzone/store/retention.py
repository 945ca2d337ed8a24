"""Delete finished rows that are older than RETENTION_DAYS, and old rows of the call log."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete

from ..ports import Clock
from .engine.database import Database
from .quota import call_log
from .schema.tables import activity_changes, reconciliations, token_uses, webhook_events


class Retention:
    """Keep finished events, the audit trail, reconciliations and token uses for `days`; None: forever."""

    def __init__(self, database: Database, clock: Clock, days: int | None) -> None:
        self._database = database
        self._clock = clock
        self._age = None if days is None else timedelta(days=days)

    async def prune(self) -> int:
        """Delete older rows and return their number. Pending and failed events stay, however old."""
        now, age = self._clock.now(), self._age

        def body(connection: Connection) -> int:
            calls = call_log.prune(connection, now)
            if age is None:
                return calls
            before = now - age
            finished = webhook_events.c.status.in_(("completed", "ignored"))
            statements = (
                delete(webhook_events).where(finished, webhook_events.c.processed_at < before),
                delete(activity_changes).where(activity_changes.c.changed_at < before),
                delete(token_uses).where(token_uses.c.used_at < before),
                delete(reconciliations).where(reconciliations.c.ended_at < before),
            )
            return calls + sum(connection.execute(statement).rowcount for statement in statements)

        removed = await self._database.write(body)
        await self._database.erase_deleted()
        return removed
