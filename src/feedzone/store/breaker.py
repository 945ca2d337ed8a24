"""One breaker for the whole application: Strava has switched it off, and all calls wait (pain 35).

One call an hour may ask whether it is on again; when it is, everything that waited goes on at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, and_, or_, select, update

from ..domain.outcome import Outcome, Snooze
from ..errors import ApplicationPaused
from ..ports import Clock
from .database import Database
from .dialect import insert_into
from .schema import application_state, jobs

PROBE_EVERY = timedelta(hours=1)
_columns = application_state.c
_STATE = select(application_state)


PAUSED = "Strava has switched this application off"
"""How the reason of a job begins that waits for the application (errors.ApplicationPaused)."""


class Door(NamedTuple):
    """What a call is told that wants to leave: why it must wait, or that it is the probe, or neither."""

    paused: ApplicationPaused | None
    probe: bool


OPEN = Door(None, probe=False)


def ask(connection: Connection, now: datetime) -> Door:
    """Whether a call may leave. While the breaker is open one may, once an hour: the probe."""
    row = connection.execute(_STATE).first()
    if row is None or row.inactive_since is None:
        return OPEN
    probe = update(application_state).where(
        _columns.inactive_since.is_not(None), or_(_columns.probe_at.is_(None), _columns.probe_at <= now)
    )
    if connection.execute(probe.values(probe_at=now + PROBE_EVERY)).rowcount:
        return Door(None, probe=True)
    return Door(ApplicationPaused(row.probe_at, row.reason), probe=False)


def reconsider(connection: Connection, outcome: Outcome, now: datetime) -> Outcome:
    """A job that was refused just before the breaker closed may say so just after it: it need not wait.

    The lock lets it be seen by whoever closes the breaker meanwhile, or see that it is closed.
    """
    if not (isinstance(outcome, Snooze) and outcome.reason.startswith(PAUSED)):
        return outcome
    row = connection.execute(_STATE.with_for_update(read=True)).first()
    is_open = row is not None and row.inactive_since is not None
    return outcome if is_open else msgspec.structs.replace(outcome, until=now)


def _hurry_paused(connection: Connection, now: datetime) -> None:
    """What waited for the application to be switched on again is due now."""
    waiting = and_(jobs.c.state == "queued", jobs.c.due_at > now, jobs.c.last_error.startswith(PAUSED))
    connection.execute(update(jobs).where(waiting).values(due_at=now))


class Breaker:
    """The table `application_state` (ports.BreakerRows)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def trip(self, reason: str) -> ApplicationPaused:
        """Strava says that the application is inactive: stop all calls."""
        now = self._clock.now()

        def body(connection: Connection) -> ApplicationPaused:
            row = connection.execute(_STATE).first()
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
        """The probe was answered as a call of a live application is: go on. False when it was closed."""
        now = self._clock.now()

        def body(connection: Connection) -> bool:
            is_open = _columns.inactive_since.is_not(None)
            closing = update(application_state).where(is_open).values(inactive_since=None, probe_at=None)
            if not connection.execute(closing).rowcount:
                return False
            _hurry_paused(connection, now)
            return True

        return await self._database.write(body)
