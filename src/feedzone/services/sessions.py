"""End browser sessions: at sign-out, and when an athlete leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..ports import Clock
from ..store import sessions
from ..store.engine.database import Connection, Database

LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class SessionService:
    """A session is in the browser's cookie; the database knows only which ones have ended."""

    database: Database
    clock: Clock

    async def end(self, session_id: str) -> None:
        """End a session: its cookie, and every copy of it, opens nothing from now on."""
        now = self.clock.now()
        await self.database.write(lambda c: sessions.end(c, session_id, now, now - LIFETIME))

    async def state(self, session_id: str, athlete_id: int | None) -> tuple[bool, int]:
        """Return whether the session has ended, and how many times its athlete has left."""

        def body(connection: Connection) -> tuple[bool, int]:
            left = 0 if athlete_id is None else sessions.departures(connection, athlete_id)
            return sessions.is_ended(connection, session_id), left

        return await self.database.read(body)

    async def departures(self, athlete_id: int) -> int:
        return await self.database.read(lambda c: sessions.departures(c, athlete_id))
