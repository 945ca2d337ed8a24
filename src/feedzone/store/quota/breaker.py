"""One circuit breaker for the whole application: while it is open, all calls wait, except for probes.

It opens when Strava has switched the application off (one probe an hour) and when call after call fails at
Strava (a probe every half minute). One waiting job returns for each probe; the others return later. When a
probe succeeds, all jobs that waited are due at once. Waiting costs no attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, and_, or_, select, update

from ...domain.outcome import PASSING, Outcome, Snooze, WaitReason
from ...errors import ApplicationPaused, StravaFails
from ...ports import Clock
from ..batches import update_in_batches
from ..engine.database import Database
from ..engine.dialect import insert_into
from ..schema.tables import application_state, jobs

PROBE_EVERY = timedelta(hours=1)
"""The interval of probes while the application is switched off."""

TRY_EVERY = timedelta(seconds=30)
"""The interval while Strava fails, and after a failed probe, which tells nothing about the application."""

_columns = application_state.c
_STATE = select(application_state)
IS_OPEN = or_(_columns.inactive_since.is_not(None), _columns.failing_since.is_not(None))


class Permission(NamedTuple):
    """Whether a call may be sent. `paused` says why it must wait; `probe` says that it is the probe."""

    paused: ApplicationPaused | None
    probe: bool


ALLOWED = Permission(None, probe=False)


def _paused(row: Row[Any] | None) -> ApplicationPaused | None:
    """Return why calls wait, and until when; None if the breaker is closed."""
    if row is None or (row.inactive_since is None and row.failing_since is None):
        return None
    kind = StravaFails if row.inactive_since is None else ApplicationPaused
    return kind(row.probe_at, row.reason)


def ask(connection: Connection, now: datetime) -> Permission:
    """Return whether a call may be sent. While the breaker is open, only the probe may."""
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
    no_prober = or_(_columns.prober_at.is_(None), _columns.prober_at < _columns.probe_at)
    booked = connection.execute(
        update(application_state).where(no_prober).values(prober_at=_columns.probe_at)
    ).rowcount
    paused.spare = not booked
    return Permission(paused, probe=False)


def is_failing(connection: Connection) -> bool:
    """Return whether all calls wait because Strava fails."""
    return isinstance(_paused(connection.execute(_STATE).first()), StravaFails)


def is_open(connection: Connection) -> bool:
    """Return whether all calls wait, for either reason."""
    return _paused(connection.execute(_STATE).first()) is not None


def reconsider(connection: Connection, outcome: Outcome, now: datetime) -> Outcome:
    """Let a job that waits for the breaker run at once if the breaker has closed since it was refused.

    The lock prevents a job that waits in vain: either the process that closes the breaker sees this job, or
    this job sees that the breaker is closed.
    """
    if not (isinstance(outcome, Snooze) and outcome.wait_reason == "breaker"):
        return outcome
    paused = _paused(connection.execute(_STATE.with_for_update(read=True)).first())
    return outcome if paused is not None else msgspec.structs.replace(outcome, until=now)


async def resume_paused(database: Database, now: datetime, reasons: Sequence[WaitReason]) -> int:
    """Make the jobs due that wait for these reasons; return how many."""
    waiting = and_(jobs.c.state == "queued", jobs.c.due_at > now, jobs.c.wait_reason.in_(reasons))
    return await update_in_batches(database, jobs, waiting, due_at=now, wait_reason=None)


async def resume_dead(database: Database, now: datetime) -> None:
    """Make the automatic retry due of each dead letter whose failure may have passed."""
    passing = and_(jobs.c.state == "dead", jobs.c.due_at > now, jobs.c.error_class.in_(PASSING))
    await update_in_batches(database, jobs, passing, due_at=now)


async def resume(database: Database, now: datetime) -> None:
    """Make due what may succeed now: jobs that waited for an answer of Strava, and dead letters."""
    waiting: tuple[WaitReason, ...] = ("no_answer",)
    if not await database.read(is_open):
        waiting = ("breaker", "no_answer")
    await resume_paused(database, now, waiting)
    await resume_dead(database, now)


class Breaker:
    """The table `application_state` (ports.BreakerRows)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open_inactive(self, reason: str) -> ApplicationPaused:
        """Stop all calls: Strava says that the application is inactive."""
        return await self._open("inactive_since", PROBE_EVERY, reason)

    async def fail(self, reason: str) -> ApplicationPaused:
        """Stop all calls: one call after the other fails at Strava."""
        return await self._open("failing_since", TRY_EVERY, reason)

    async def _open(self, since: str, every: timedelta, reason: str) -> ApplicationPaused:
        now = self._clock.now()

        def body(connection: Connection) -> ApplicationPaused:
            row = connection.execute(_STATE).first()
            paused = _paused(row)
            if row is not None and paused is not None and since == "failing_since":
                return paused
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

    async def probe_soon(self) -> timedelta:
        """Allow another probe soon, and return when: this one failed, which says nothing else.

        The job of this probe may return for the next one.
        """
        soon = self._clock.now() + TRY_EVERY
        later = update(application_state).where(_columns.probe_at > soon)
        await self._database.write(lambda c: c.execute(later.values(probe_at=soon)))
        return TRY_EVERY

    async def close(self) -> bool:
        """Close the breaker after a successful probe. Return False if it was closed already."""
        now = self._clock.now()

        def body(connection: Connection) -> bool:
            closed = {"inactive_since": None, "failing_since": None, "probe_at": None}
            return connection.execute(update(application_state).where(IS_OPEN).values(closed)).rowcount > 0

        if not await self._database.write(body):
            return False
        await resume(self._database, now)  # or the next start does, if this process ends before
        return True

    async def resume(self) -> None:
        """Make the jobs due that wait for an answer of Strava: it answers again."""
        await resume_paused(self._database, self._clock.now(), ("no_answer",))
