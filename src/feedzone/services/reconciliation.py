"""Reconcile an athlete now, and resolve conflicts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from ..domain.job import athlete_key
from ..domain.reconciliation import confirm_deletion, list_from, reconciliation_job
from ..errors import NotFound
from ..ports import Clock, Wakeup
from ..store import athletes, batches, reconciliations
from ..store.engine.database import Connection, Database, Row
from ..store.jobs import lifecycle
from ..store.quota import allowances


@dataclass(frozen=True)
class ReconciliationService:
    database: Database
    clock: Clock
    wakeup: Wakeup
    days: int
    calls_per_hour: int = 30
    """The calls that one athlete may cause within an hour (ATHLETE_CALLS_PER_HOUR)."""

    async def reconcile(self, athlete_id: int, *, by_athlete: bool = False) -> None:
        """Reconcile all stored activities of the athlete now.

        `by_athlete`: the athlete asks for it, so their allowance pays.
        Raises NotFound unless connected, and AllowanceSpent.
        """
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            lifecycle.lock(connection, [athlete_key(athlete_id)])
            if athletes.statuses(connection, [athlete_id]).get(athlete_id) in (None, "deauthorized"):
                return False
            if by_athlete:
                calls = allowances.cost_of_list(connection, athlete_id, None)
                allowances.spend(connection, athlete_id, calls, self.calls_per_hour, now)
            since = list_from(
                athletes.synced_range(athletes.get(connection, athlete_id)),
                self.days,
                now,
                everything=True,
            )
            lifecycle.enqueue(connection, [reconciliation_job(athlete_id, self.days, since=since)], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        self.wakeup.notify()

    async def resolve(self, conflict_id: str, *, accept: bool) -> int:
        """Close a conflict. Accept: confirm each missing activity at Strava, and delete those that are gone.

        Return the number of activities to confirm. Raises NotFound.
        """
        now = self.clock.now()

        def close(connection: Connection) -> Row[Any] | None:
            status = "accepted" if accept else "dismissed"
            return reconciliations.resolve(connection, conflict_id, status, now)

        row = await self.database.read(lambda c: reconciliations.find_open(c, conflict_id))
        if row is None:
            raise NotFound(f"there is no open conflict {conflict_id}")
        missing = msgspec.json.decode(row.detail)["missing"] if accept else []
        for start in range(0, len(missing), batches.AT_ONCE):
            some = missing[start : start + batches.AT_ONCE]
            jobs = [confirm_deletion(row.athlete_id, number, accepted=True) for number in some]
            await self.database.write(partial(lifecycle.enqueue, specs=jobs, now=now))
        if await self.database.write(close) is None:
            raise NotFound(f"there is no open conflict {conflict_id}")
        self.wakeup.notify()
        return len(missing)
