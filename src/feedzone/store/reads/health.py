"""Signs of health in the database: mode, circuit breaker, missing events, open conflicts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from .. import athletes, duty_lease, leaving, reconciliations, subscriptions
from ..schema.tables import application_state, conflicts

QUIET_WITHIN = timedelta(hours=24)


class HealthSigns(NamedTuple):
    """`quiet_sweeps` reconciliations found `unannounced` activities that no event had announced."""

    polling: bool
    paused_since: datetime | None
    failing_since: datetime | None
    probe_at: datetime | None
    pause_reason: str | None
    unannounced: int
    quiet_sweeps: int
    open_conflicts: int
    leaves_at: datetime | None
    lost_deliveries: int
    lost_since: datetime | None
    leader: str | None
    leader_since: datetime | None
    leaderless_since: datetime | None


def signs(connection: Connection, now: datetime) -> HealthSigns:
    polling = not subscriptions.active_ids(connection)
    state = connection.execute(select(application_state)).first()
    paused = state is not None and (state.inactive_since or state.failing_since) is not None
    unannounced, quiet = reconciliations.unannounced_since(connection, now - QUIET_WITHIN)
    lease = duty_lease.current(connection, now)
    leader = None if lease is None or lease.is_over else lease
    still_open = select(func.count()).select_from(conflicts).where(conflicts.c.status == "open")
    return HealthSigns(
        polling,
        state.inactive_since if state is not None else None,
        state.failing_since if state is not None else None,
        state.probe_at if state is not None and paused else None,
        state.reason if state is not None and paused else None,
        0 if polling else unannounced,
        0 if polling else quiet,
        connection.execute(still_open).scalar_one(),
        leaving.next_deadline(connection),
        *athletes.lost_deliveries(connection),
        leader.holder if leader is not None else None,
        leader.since if leader is not None else None,
        lease.until if lease is not None and leader is None else None,
    )
