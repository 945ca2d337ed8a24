"""Delete rows that are older than RETENTION_DAYS (schema/personal.py), and old rows of the call log."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete

from ..ports import Clock
from . import change_log, events, fruitless, unknown_owners
from .engine.database import Database
from .jobs import dead_letters
from .quota import allowances, call_log
from .schema.personal import PRUNED_BY
from .schema.tables import activity_changes, jobs, webhook_events

FINISHED = {
    webhook_events.name: (webhook_events.c.status.not_in(events.OPEN),),
    jobs.name: (jobs.c.state == "dead",),
    activity_changes.name: (activity_changes.c.kind.not_in(change_log.DEPARTURES),),
}
"""The conditions besides age: work that is still to be done stays, and departures stay longer."""


class Retention:
    """Keep events, the audit trail, dead letters and logs of our own for `days`; None: forever."""

    def __init__(self, database: Database, clock: Clock, days: int | None) -> None:
        self._database = database
        self._clock = clock
        self._age = None if days is None else timedelta(days=days)

    async def prune(self) -> int:
        """Delete older rows and return their number.

        An event that still waits for its fetch stays, but loses its words: the fetch tells the current ones.
        """
        now, age = self._clock.now(), self._age

        def body(connection: Connection) -> int:
            expired = call_log.prune(connection, now) + dead_letters.prune_discarded(connection, now)
            expired += allowances.prune(connection, now)
            expired += fruitless.prune(connection, now) + unknown_owners.prune(connection, now)
            if age is None:
                return expired
            before = now - age
            events.redact_open(connection, before)
            statements = (
                delete(aged_by.table).where(aged_by < before, *FINISHED.get(aged_by.table.name, ()))
                for aged_by in PRUNED_BY
            )
            expired += change_log.prune_departures(connection, now, age)
            return expired + sum(connection.execute(statement).rowcount for statement in statements)

        removed = await self._database.write(body)
        await self._database.erase_deleted()
        return removed
