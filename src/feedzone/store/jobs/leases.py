"""Leases: which worker runs which job, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select, update

from ...domain.job import CALLS_AN_ACTIVITY, Job, Lane, calls_of, decode_hint
from .. import events
from ..engine.dialect import among
from ..schema.tables import jobs

_columns = jobs.c

ENOUGH = 200
"""The most jobs to count. More jobs need more calls than are ever compared (queue.MANY_WORKERS)."""

# Frequent statements are built once: building one takes longer than running it.
_PICK = (
    select(jobs)
    .where(
        _columns.state == "queued",
        _columns.due_at <= bindparam("now"),
        _columns.priority < bindparam("below"),
    )
    .order_by(_columns.priority, _columns.fair_position, _columns.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_LEASE = (
    update(jobs)
    .where(among(_columns.id, "picked"))
    .values(
        state="running",
        lease_owner=bindparam("owner"),
        lease_until=bindparam("until"),
        wait_reason=None,
        updated_at=bindparam("now"),
    )
)
_RUNNING = select(_columns.id, _columns.lease_owner, _columns.lease_until).where(_columns.state == "running")
_FIRST = (
    select(_columns.priority)
    .where(
        _columns.state == "queued",
        _columns.priority < int(Lane.RECONCILE),
        _columns.due_at <= bindparam("before"),
    )
    .order_by(_columns.priority)
    .limit(ENOUGH)
)
_UNDER_WAY = (
    select(_columns.priority, func.sum(_columns.calls).label("calls"))
    .where(_columns.state == "running")
    .group_by(_columns.priority)
)

ALL_LANES = max(Lane) + 1
NO_LIMIT: Mapping[Lane, int] = {}


def lease(
    connection: Connection,
    *,
    limit: int,
    owner: str,
    now: datetime,
    seconds: float,
    most: Mapping[Lane, int] = NO_LIMIT,
    idle: Collection[Lane] = (),
) -> list[Job]:
    """Lease up to `limit` due jobs: the highest lane first, athletes in turns.

    `most` says how many calls the jobs of a lane may need together. `idle` holds the lanes in which no job
    runs; there one job that needs more calls than are left may begin. Skip rows that another process leases.
    """
    below = min((lane for lane, left in most.items() if left <= 0), default=ALL_LANES)
    picked = connection.execute(_PICK, {"now": now, "most": limit, "below": below}).all()
    left = dict(most)
    leased = [job for row in picked if _allowed(left, job := _job(row, owner), most, idle)]
    if not leased:
        return []
    ids = [job.id for job in leased]
    until = now + timedelta(seconds=seconds)
    connection.execute(_LEASE, {"picked": ids, "owner": owner, "until": until, "now": now})
    events.mark_processing(connection, ids)
    return leased


def _allowed(left: dict[Lane, int], job: Job, most: Mapping[Lane, int], idle: Collection[Lane]) -> bool:
    if job.lane not in left:
        return True
    calls, lane = calls_of(job.kind, job.hint), job.lane
    # Without this limit, many jobs would begin and an arbitrary one would stop half way.
    if calls <= left[lane] or (lane in idle and 0 < left[lane] == most[lane]):
        left[lane] -= calls
        return True
    left[lane] = 0
    return False


def calls_to_come(connection: Connection) -> dict[Lane, int]:
    """Return how many calls the running jobs may still make, by lane."""
    return {Lane(row.priority): int(row.calls) for row in connection.execute(_UNDER_WAY)}


def calls_that_go_first(connection: Connection, before: datetime) -> dict[Lane, int]:
    """Return how many calls the waiting prompt jobs due by `before` may make, by lane."""
    lanes = Counter(connection.execute(_FIRST, {"before": before}).scalars())
    return {Lane(lane): jobs * CALLS_AN_ACTIVITY for lane, jobs in lanes.items()}


def _job(row: Row[Any], owner: str) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        key=row.key,
        athlete_id=row.athlete_id,
        hint=decode_hint(row.hint),
        hint_time=row.hint_time,
        lane=Lane(row.priority),
        attempts=row.attempts,
        version=row.version,
        first_received_at=row.first_received_at,
        lease_owner=owner,
    )


def renew(connection: Connection, owners: Sequence[str], until: datetime) -> int:
    """Prolong the leases that these owners still have; return how many."""
    owned = and_(jobs.c.state == "running", jobs.c.lease_owner.in_(owners))
    return connection.execute(update(jobs).where(owned).values(lease_until=until)).rowcount


def release(connection: Connection, worker: str, now: datetime) -> int:
    """Return the jobs of this worker to the queue, as if they had never been leased."""
    owned = jobs.c.lease_owner.startswith(f"{worker}/", autoescape=True)
    return _take_back(connection, owned, now)


IsGone = Callable[[str], bool]


def _abandoned(connection: Connection, now: datetime, is_gone: IsGone | None) -> tuple[bool, list[str]]:
    """Return whether a lease has expired, and the owners that are gone (`is_gone`)."""
    rows = connection.execute(_RUNNING).all()
    owners = sorted({row.lease_owner for row in rows})
    gone = [owner for owner in owners if is_gone is not None and is_gone(owner)]
    return any(row.lease_until <= now for row in rows), gone


def any_abandoned(connection: Connection, now: datetime, is_gone: IsGone | None = None) -> bool:
    """Return whether `rescue` would find a job."""
    expired, gone = _abandoned(connection, now, is_gone)
    return expired or bool(gone)


def rescue(connection: Connection, now: datetime, is_gone: IsGone | None = None) -> int:
    """Return jobs of dead workers to the queue: the lease has expired, or its owner `is_gone`."""
    _, gone = _abandoned(connection, now, is_gone)
    expired = _columns.lease_until <= now
    return _take_back(connection, or_(expired, _columns.lease_owner.in_(gone)) if gone else expired, now)


def _take_back(connection: Connection, condition: Any, now: datetime) -> int:
    statement = (
        update(jobs)
        .where(jobs.c.state == "running", condition)
        .values(state="queued", lease_owner=None, lease_until=None, updated_at=now)
        .returning(jobs.c.id)
    )
    ids = connection.execute(statement).scalars().all()
    events.mark_pending(connection, ids)
    return len(ids)


def any_running(connection: Connection) -> bool:
    return connection.execute(_RUNNING.limit(1)).first() is not None
