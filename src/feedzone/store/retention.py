"""Delete old events, old calls, and what is older than RETENTION_DAYS (schema/personal.py)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_

from ..ports import Clock
from . import change_log, events, fruitless
from . import unknown_owners as owners
from .batches import change_in_batches, delete_in_batches, delete_oldest
from .engine.database import Database
from .jobs import dead_letters
from .quota import allowances, call_log
from .schema.personal import PRUNED_BY
from .schema.tables import (
    activity_changes,
    athlete_allowances,
    fruitless_calls,
    jobs,
    metadata,
    unknown_owners,
    webhook_events,
)
from .schema.tables import call_log as calls

FINISHED = {
    webhook_events.name: (webhook_events.c.status.not_in(events.OPEN),),
    jobs.name: (jobs.c.state == "dead",),
    activity_changes.name: (activity_changes.c.kind.not_in(change_log.DEPARTURES),),
}
"""The conditions besides age: work that is still to be done stays, and departures stay longer."""


OUTDATED = (
    (athlete_allowances, allowances.is_old),
    (fruitless_calls, fruitless.is_old),
    (unknown_owners, owners.is_old),
)
"""Counters that end by themselves, whatever RETENTION_DAYS is."""


class EventDays(NamedTuple):
    """How many days events stay that are completed or ignored, and those that failed; 0: forever."""

    finished: int = 0
    failed: int = 0

    def old(self, now: datetime) -> list[ColumnElement[bool]]:
        """Return a condition for each kind of event that grows old."""
        kinds = ((self.finished, ("completed", "ignored")), (self.failed, ("failed",)))
        return [events.is_finished(now - timedelta(days=days), statuses) for days, statuses in kinds if days]


FOREVER = EventDays()


class Retention:
    """Keep events, the audit trail, dead letters and logs of our own for `days`; None: forever.

    `event_days` may delete events earlier.
    """

    def __init__(
        self, database: Database, clock: Clock, days: int | None, event_days: EventDays = FOREVER
    ) -> None:
        self._database = database
        self._clock = clock
        self._event_days = event_days
        self._age = None if days is None else timedelta(days=days)

    async def prune(self) -> int:
        """Delete older rows, a few per transaction, and return their number.

        An event that still waits for its fetch stays, but loses its words: the fetch tells the current ones.
        """
        now, database = self._clock.now(), self._database
        removed = await delete_oldest(database, calls.c.sent_at, call_log.is_old(now))
        removed += await database.write(lambda c: call_log.delete_old_counts(c, now))
        discarded = dead_letters.discarded_long_ago(now)
        removed += await change_in_batches(database, jobs, discarded, dead_letters.remove)
        for table, is_old in OUTDATED:
            removed += await delete_in_batches(database, table, is_old(now))
        for old_events in self._event_days.old(now):
            removed += await delete_oldest(database, webhook_events.c.created_at, old_events)
        if self._age is not None:
            before = now - self._age
            await change_in_batches(database, webhook_events, events.is_open(before), events.redact)
            for aged_by in PRUNED_BY:
                old = and_(aged_by < before, *FINISHED.get(aged_by.table.name, ()))
                if any(index.columns[0] is aged_by for index in metadata.tables[aged_by.table.name].indexes):
                    removed += await delete_oldest(database, aged_by, old)
                else:
                    removed += await delete_in_batches(database, metadata.tables[aged_by.table.name], old)
            departures = change_log.old_departures(now, self._age)
            removed += await delete_in_batches(database, activity_changes, departures)
        await database.erase_deleted()
        return removed
