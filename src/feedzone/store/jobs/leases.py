"""Who does which job: leased, prolonged, given back, taken back from the dead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select, update

from ...domain.job import CALLS_AN_ACTIVITY, Job, Lane, calls_of, decode_hint
from .. import events
from ..schema.tables import jobs

_columns = jobs.c

ENOUGH = 200
"""So many jobs take more calls than are ever counted one by one (queue.MANY_WORKERS)."""

# Statements of every job's way are built once: to build one takes longer than to run it.
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
_HOLD = (
    update(jobs)
    .where(_columns.id.in_(bindparam("picked", expanding=True)))
    .values(
        state="running",
        lease_owner=bindparam("holder"),
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
    """Lease up to `limit` due jobs, best lane first, athletes in turns; of a lane no more than can be done
    with `most` calls, or half way where nobody else is at work in it (`idle`).

    Other processes' picks are skipped, not waited for.
    """
    below = min((lane for lane, left in most.items() if left <= 0), default=ALL_LANES)
    picked = connection.execute(_PICK, {"now": now, "most": limit, "below": below}).all()
    left = dict(most)
    found = [job for row in picked if _allowed(left, job := _job(row, owner), most, idle)]
    if not found:
        return []
    ids = [job.id for job in found]
    until = now + timedelta(seconds=seconds)
    connection.execute(_HOLD, {"picked": ids, "holder": owner, "until": until, "now": now})
    events.mark_processing(connection, ids)
    return found


def _allowed(left: dict[Lane, int], job: Job, most: Mapping[Lane, int], idle: Collection[Lane]) -> bool:
    if job.lane not in left:
        return True
    calls, lane = calls_of(job.kind, job.hint), job.lane
    # Of many that cannot all be finished, it would be any one that stops half way.
    if calls <= left[lane] or (lane in idle and 0 < left[lane] == most[lane]):
        left[lane] -= calls
        return True
    left[lane] = 0
    return False


def calls_to_come(connection: Connection) -> dict[Lane, int]:
    """How many calls the jobs that run now may still make, by lane."""
    return {Lane(row.priority): int(row.calls) for row in connection.execute(_UNDER_WAY)}


def calls_that_go_first(connection: Connection, before: datetime) -> dict[Lane, int]:
    """How many calls prompt jobs may make that wait and are due by then, by lane."""
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
    """Prolong these leases, as far as they are still theirs; returns how many jobs that were."""
    mine = and_(jobs.c.state == "running", jobs.c.lease_owner.in_(owners))
    return connection.execute(update(jobs).where(mine).values(lease_until=until)).rowcount


def release(connection: Connection, worker: str, now: datetime) -> int:
    """Give back what this worker holds, as if it had never been leased."""
    mine = jobs.c.lease_owner.startswith(f"{worker}/", autoescape=True)
    return _take_back(connection, mine, now)


IsGone = Callable[[str], bool]


def _abandoned(connection: Connection, now: datetime, is_gone: IsGone | None) -> tuple[bool, list[str]]:
    """Whether a lease ran out, and which owners `is_gone` says are no more."""
    rows = connection.execute(_RUNNING).all()
    owners = sorted({row.lease_owner for row in rows})
    gone = [owner for owner in owners if is_gone is not None and is_gone(owner)]
    return any(row.lease_until <= now for row in rows), gone


def any_abandoned(connection: Connection, now: datetime, is_gone: IsGone | None = None) -> bool:
    """Whether there is something to rescue."""
    expired, gone = _abandoned(connection, now, is_gone)
    return expired or bool(gone)


def rescue(connection: Connection, now: datetime, is_gone: IsGone | None = None) -> int:
    """Queue again what dead workers held: the lease ran out, or `is_gone` says so of its owner."""
    _, gone = _abandoned(connection, now, is_gone)
    expired = _columns.lease_until <= now
    return _take_back(connection, or_(expired, _columns.lease_owner.in_(gone)) if gone else expired, now)


def _take_back(connection: Connection, which: Any, now: datetime) -> int:
    statement = (
        update(jobs)
        .where(jobs.c.state == "running", which)
        .values(state="queued", lease_owner=None, lease_until=None, updated_at=now)
        .returning(jobs.c.id)
    )
    ids = connection.execute(statement).scalars().all()
    events.mark_pending(connection, ids)
    return len(ids)


def any_running(connection: Connection) -> bool:
    return connection.execute(_RUNNING.limit(1)).first() is not None
