"""Delete finished rows that are older than RETENTION_DAYS, and old rows of the call log."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete

from ..ports import Clock
from .engine.database import Database
from .jobs import dead_letters
from .quota import allowances, call_log
from .schema.tables import activity_changes, reconciliations, token_uses, webhook_events

PRUNED_BY = (
    webhook_events.c.processed_at,
    activity_changes.c.changed_at,
    token_uses.c.used_at,
    reconciliations.c.ended_at,
)
"""The tables that RETENTION_DAYS empties, each by the column that tells a row's age."""

FINISHED = {webhook_events.name: (webhook_events.c.status.in_(("completed", "ignored")),)}


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
            expired = call_log.prune(connection, now) + dead_letters.prune_discarded(connection, now)
            expired += allowances.prune(connection, now)
            if age is None:
                return expired
            before = now - age
            statements = (
                delete(aged_by.table).where(aged_by < before, *FINISHED.get(aged_by.table.name, ()))
                for aged_by in PRUNED_BY
            )
            return expired + sum(connection.execute(statement).rowcount for statement in statements)

        removed = await self._database.write(body)
        await self._database.erase_deleted()
        return removed
