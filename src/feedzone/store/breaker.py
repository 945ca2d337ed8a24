"""One breaker for the whole application: Strava has switched it off, and all calls wait (pain 35).

One call an hour may ask whether it is on again; when it is, everything that waited goes on at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, or_, select, update

from ..errors import ApplicationPaused
from ..ports import Clock
from . import jobs
from .database import Database
from .dialect import insert_into
from .schema import application_state

PROBE_EVERY = timedelta(hours=1)
_columns = application_state.c


def refusal(connection: Connection, now: datetime) -> ApplicationPaused | None:
    """Why a call must wait, or None. The one caller that gets None while the breaker is open is the probe."""
    row = connection.execute(select(application_state)).first()
    if row is None or row.inactive_since is None:
        return None
    probe = update(application_state).where(
        _columns.inactive_since.is_not(None), or_(_columns.probe_at.is_(None), _columns.probe_at <= now)
    )
    if connection.execute(probe.values(probe_at=now + PROBE_EVERY)).rowcount:
        return None
    return ApplicationPaused(row.probe_at, row.reason)


def hurry_left_over(connection: Connection, now: datetime) -> None:
    """A job that was refused just before the breaker closed may write so just after it."""
    is_open = select(_columns.id).where(_columns.inactive_since.is_not(None))
    if connection.execute(is_open).first() is None:
        jobs.hurry_paused(connection, now)


class Breaker:
    """The table `application_state` (ports.BreakerRows)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def trip(self, reason: str) -> ApplicationPaused:
        """Strava says that the application is inactive: stop all calls."""
        now = self._clock.now()

        def body(connection: Connection) -> ApplicationPaused:
            row = connection.execute(select(application_state)).first()
            since = row.inactive_since if row is not None and row.inactive_since is not None else now
            values = {"inactive_since": since, "probe_at": now + PROBE_EVERY, "reason": reason}
            connection.execute(
                insert_into(connection, application_state)
                .values(id=1, **values)
                .on_conflict_do_update(index_elements=["id"], set_=values)
            )
            return ApplicationPaused(now + PROBE_EVERY, reason)

        return await self._database.write(body)

    async def close(self) -> bool:
        """A call succeeded: go on. True when the breaker was open."""
        now = self._clock.now()
        is_open = _columns.inactive_since.is_not(None)

        def body(connection: Connection) -> bool:
            if not connection.execute(
                update(application_state).where(is_open).values(inactive_since=None, probe_at=None)
            ).rowcount:
                return False
            jobs.hurry_paused(connection, now)
            return True

        if not await self._database.read(lambda c: c.execute(select(_columns.id).where(is_open)).first()):
            return False
        return await self._database.write(body)
