"""The lease on the recurring duties: one process at a time runs them (ports.DutyLease).

A row rather than a lock of PostgreSQL's sessions, because pgbouncer shares sessions between processes.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, case, or_, select, update

from ..ports import Clock, LeaseTerms
from .engine.database import Database
from .engine.dialect import insert_into, server_time
from .jobs.queue import process_is_gone
from .schema.tables import leases

NAME = "duties"
BETWEEN_MACHINES = LeaseTerms(lease_s=8.0, renew_s=3.0, look_s=1.0)
"""Another process takes over at the latest 9 s after the last sign of life. One renewal may fail."""

ON_ONE_MACHINE = LeaseTerms(lease_s=30.0, renew_s=10.0, look_s=1.0)
"""On a SQLite file the end of a process is seen at once. So it renews rarely: each write wakes open pages."""

_columns = leases.c
_LEASE = select(leases).where(_columns.name == NAME)


class Leader(NamedTuple):
    """The process that has the lease, or had it last."""

    holder: str
    since: datetime
    until: datetime
    is_over: bool


def current(connection: Connection, now: datetime) -> Leader | None:
    """Return who has the lease; None: nobody ever had it. `now` is by the clock of this machine."""
    over = (_columns.until <= server_time(connection, now)).label("is_over")
    row = connection.execute(_LEASE.add_columns(over)).first()
    return None if row is None else Leader(row.holder, row.since, row.until, bool(row.is_over))


class SqlDutyLease:
    """The row of `leases` that names the process which runs the duties (ports.DutyLease)."""

    def __init__(self, database: Database, clock: Clock, holder: str) -> None:
        self.terms = BETWEEN_MACHINES if database.shares_work else ON_ONE_MACHINE
        self._database = database
        self._clock = clock
        self._holder = holder
        self._gone: str | None = None
        """The last holder, if its process has ended. Only on SQLite, where it ran on this machine."""

    async def is_free(self) -> bool:
        now = self._clock.now()
        leader = await self._database.read(lambda c: current(c, now))
        if leader is None or leader.is_over:
            return True
        is_gone = not self._database.shares_work and process_is_gone(leader.holder)
        self._gone = leader.holder if is_gone else None
        return is_gone or leader.holder == self._holder

    async def acquire(self) -> bool:
        now = self._clock.now()
        # After a power failure there may be no leader, or an earlier one: both end with its lease.
        return await self._database.write(lambda c: self._acquire(c, now), durable=False)

    def _acquire(self, connection: Connection, now: datetime) -> bool:
        time = server_time(connection, now)
        until = server_time(connection, now, after_s=self.terms.lease_s)
        lease = insert_into(connection, leases).values(
            name=NAME, holder=self._holder, since=time, until=until
        )
        new, is_renewal = lease.excluded, _columns.holder == self._holder
        taken = lease.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "holder": new.holder,
                "since": case((and_(is_renewal, _columns.until > time), _columns.since), else_=new.since),
                "until": new.until,
            },
            where=or_(is_renewal, _columns.holder == self._gone, _columns.until <= time),
        )
        return connection.execute(taken.returning(_columns.name)).first() is not None

    async def release(self) -> None:
        now = self._clock.now()

        def body(connection: Connection) -> None:
            own = update(leases).where(_columns.name == NAME, _columns.holder == self._holder)
            connection.execute(own.values(until=server_time(connection, now)))

        await self._database.write(body, durable=False)
