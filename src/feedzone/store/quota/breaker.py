"""One breaker for the whole application: all calls wait, but for a probe now and then.

It opens when Strava has switched the application off (pain 35; one probe an hour), and when Strava fails
at one call after the other (pain 49; a probe every half minute). When a probe is answered, everything that
waited goes on at once; what waits spends no attempt.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, and_, or_, select, update

from ...domain.outcome import Outcome, Snooze
from ...errors import ApplicationPaused, StravaFails
from ...ports import Clock
from ..engine.database import Database
from ..engine.dialect import insert_into
from ..schema.tables import application_state, jobs

PROBE_EVERY = timedelta(hours=1)
"""Of an application that is switched off."""

TRY_EVERY = timedelta(seconds=30)
"""While Strava fails; and after a probe that Strava failed at, which says nothing of the application."""

_columns = application_state.c
_STATE = select(application_state)
IS_OPEN = or_(_columns.inactive_since.is_not(None), _columns.failing_since.is_not(None))


class Permission(NamedTuple):
    """What a call is told that wants to leave: why it must wait, or that it is the probe, or neither."""

    paused: ApplicationPaused | None
    probe: bool


ALLOWED = Permission(None, probe=False)


def _paused(row: Row[Any] | None) -> ApplicationPaused | None:
    """Why calls wait, and until when; None: they do not."""
    if row is None or (row.inactive_since is None and row.failing_since is None):
        return None
    kind = StravaFails if row.inactive_since is None else ApplicationPaused
    return kind(row.probe_at, row.reason)


def ask(connection: Connection, now: datetime) -> Permission:
    """Whether a call may leave. While the breaker is open one may, now and then: the probe."""
    row = connection.execute(_STATE).first()
    paused = _paused(row)
    if row is None or paused is None:
        return ALLOWED
    every = TRY_EVERY if isinstance(paused, StravaFails) else PROBE_EVERY
    probe = update(application_state).where(
        IS_OPEN,
        or_(_columns.probe_at.is_(None), _columns.probe_at <= now),
    )
    if connection.execute(probe.values(probe_at=now + every)).rowcount:
        return Permission(None, probe=True)
    return Permission(paused, probe=False)


def is_failing(connection: Connection) -> bool:
    """Whether all calls wait because Strava fails at all of them."""
    return isinstance(_paused(connection.execute(_STATE).first()), StravaFails)


def reconsider(connection: Connection, outcome: Outcome, now: datetime) -> Outcome:
    """A job that was refused just before the breaker closed may say so just after it: it need not wait.

    The lock lets it be seen by whoever closes the breaker meanwhile, or see that it is closed.
    """
    if not (isinstance(outcome, Snooze) and outcome.wait_reason == "breaker"):
        return outcome
    paused = _paused(connection.execute(_STATE.with_for_update(read=True)).first())
    return outcome if paused is not None else msgspec.structs.replace(outcome, until=now)


def _resume_paused(connection: Connection, now: datetime) -> None:
    """What waited for the breaker is due now."""
    waiting = and_(jobs.c.state == "queued", jobs.c.due_at > now, jobs.c.wait_reason == "breaker")
    connection.execute(update(jobs).where(waiting).values(due_at=now, wait_reason=None))


class Breaker:
    """The table `application_state` (ports.BreakerRows)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open_inactive(self, reason: str) -> ApplicationPaused:
        """Strava says that the application is inactive: stop all calls."""
        return await self._open("inactive_since", PROBE_EVERY, reason)

    async def fail(self, reason: str) -> ApplicationPaused:
        """Strava fails at one call after the other: stop all calls."""
        return await self._open("failing_since", TRY_EVERY, reason)

    async def _open(self, since: str, every: timedelta, reason: str) -> ApplicationPaused:
        now = self._clock.now()

        def body(connection: Connection) -> ApplicationPaused:
            row = connection.execute(_STATE).first()
            held = _paused(row)
            if row is not None and held is not None and since == "failing_since":
                return held
            first = None if row is None else row._mapping[since]
            values = {since: first or now, "probe_at": now + every, "reason": reason}
            connection.execute(
                insert_into(connection, application_state)
                .values(id=1, **values)
                .on_conflict_do_update(index_elements=["id"], set_=values)
            )
            kind = ApplicationPaused if since == "inactive_since" else StravaFails
            return kind(now + every, reason)

        return await self._database.write(body)

    async def probe_soon(self) -> None:
        """Strava failed at the probe: that says nothing of the application, so another call may ask soon."""
        soon = self._clock.now() + TRY_EVERY
        asked = update(application_state).where(_columns.probe_at > soon)
        await self._database.write(lambda c: c.execute(asked.values(probe_at=soon)))

    async def close(self) -> bool:
        """The probe was answered as a call of a live application is: go on. False when it was closed."""
        now = self._clock.now()

        def body(connection: Connection) -> bool:
            closed = {"inactive_since": None, "failing_since": None, "probe_at": None}
            if not connection.execute(update(application_state).where(IS_OPEN).values(closed)).rowcount:
                return False
            _resume_paused(connection, now)
            return True

        return await self._database.write(body)
