"""Compare now; and decide what a comparison did not dare to."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..domain.comparison import comparison, confirm_deletion, reach
from ..domain.job import athlete_key
from ..errors import NotFound
from ..ports import Clock, Wakeup
from ..store import athletes, reconciliations
from ..store.engine.database import Connection, Database
from ..store.jobs import lifecycle


@dataclass(frozen=True)
class ReconciliationService:
    database: Database
    clock: Clock
    wakeup: Wakeup
    days: int

    async def verify(self, athlete_id: int) -> None:
        """Compare all that we hold of the athlete now. Raises NotFound for who is not connected."""
        now = self.clock.now()

        def body(connection: Connection) -> bool:
            lifecycle.lock(connection, [athlete_key(athlete_id)])
            if athletes.statuses(connection, [athlete_id]).get(athlete_id) in (None, "deauthorized"):
                return False
            since = reach(
                athletes.synced_history(athletes.get(connection, athlete_id)), self.days, now, whole=True
            )
            lifecycle.enqueue(connection, [comparison(athlete_id, self.days, since=since)], now)
            return True

        if not await self.database.write(body):
            raise NotFound(f"athlete {athlete_id} is not connected")
        self.wakeup.notify()

    async def resolve(self, conflict_id: str, *, accept: bool) -> int:
        """Close an open question. Accepted: each missing activity is asked for, and goes if Strava says so.

        Returns how many will be asked for. Raises NotFound.
        """
        now = self.clock.now()

        def body(connection: Connection) -> int | None:
            row = reconciliations.resolve(connection, conflict_id, "accepted" if accept else "dismissed", now)
            if row is None:
                return None
            missing = msgspec.json.decode(row.detail)["missing"] if accept else []
            lifecycle.enqueue(connection, [confirm_deletion(row.athlete_id, one) for one in missing], now)
            return len(missing)

        asked = await self.database.write(body)
        if asked is None:
            raise NotFound(f"there is no open conflict {conflict_id}")
        self.wakeup.notify()
        return asked
