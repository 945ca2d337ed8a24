"""How jobs begin: enqueued, and merged with later requests. endings.py says how their runs end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, or_, select

from ...domain.ids import uuid7
from ...domain.job import Hint, JobSpec, Lane, calls_of, encode_hint
from ...domain.job_kinds import JobKind
from ..engine.dialect import among, insert_for
from ..schema.tables import IS_LIVE, LIVE, jobs
from . import fairness

_columns = jobs.c

# Frequent statements are built once: building one takes longer than running it.
_NEXT_DUE = select(func.min(_columns.due_at)).where(_columns.state == "queued")
_LOCK = (
    select(_columns.key, _columns.priority)
    .where(among(_columns.key, "keys"), IS_LIVE)
    .order_by(_columns.id)
    .with_for_update()
)

_LIVE_JOBS: Select[Any] = select(
    _columns.id,
    _columns.kind,
    _columns.key,
    _columns.athlete_id,
    _columns.version,
    _columns.state,
    _columns.priority,
    _columns.due_at,
).where(among(_columns.key, "keys"), IS_LIVE)


def live(connection: Connection, keys: Iterable[str]) -> Sequence[Row[Any]]:
    """Return the live jobs with these keys."""
    return connection.execute(_LIVE_JOBS, {"keys": sorted(keys)}).all()


def enqueue(
    connection: Connection, specs: Iterable[JobSpec], now: datetime, *, unless_live: bool = False
) -> None:
    """Enqueue jobs. A live job of the same object gets a higher version, the newer hint and the higher lane.

    With `unless_live` the live job stays as it is. One job is live per object and athlete: a forged event
    that names another owner must not take the real owner's job away.
    """
    newest: dict[tuple[str, str, int], JobSpec] = {}
    for spec in specs:
        identity = (spec.kind, spec.key, spec.athlete_id)
        earlier = newest.get(identity)
        newest[identity] = spec if earlier is None else _merge(earlier, spec, now)
    if not newest:
        return
    fair_position = fairness.assign_positions(connection, newest.values())
    # Two processes that enqueue the same keys in different order would deadlock on PostgreSQL.
    rows = [_values(spec, fair_position[identity], now) for identity, spec in sorted(newest.items())]
    connection.execute(_upsert(connection.dialect.name, unless_live=unless_live), rows)


@cache
def _upsert(dialect: str, *, unless_live: bool) -> Any:
    statement = insert_for(dialect, jobs)
    if unless_live:
        return statement.on_conflict_do_nothing(
            index_elements=[_columns.kind, _columns.key, _columns.athlete_id], index_where=LIVE
        )
    new, old = statement.excluded, _columns
    newer, better = new.hint_time >= old.hint_time, new.priority < old.priority
    # A request that comes while the job runs says when the job runs again.
    running = and_(old.state == "running", old.due_at <= new.updated_at)
    # Both wait until no more updates come, but at most until debounce_until (domain/event.py).
    longest = case(
        (or_(old.debounce_until.is_(None), new.debounce_until < old.debounce_until), new.debounce_until),
        else_=old.debounce_until,
    )
    later = case((new.due_at < longest, new.due_at), else_=longest)
    debouncing = and_(
        new.debounce_until.is_not(None),
        old.due_at > new.updated_at,
        old.due_at < later,
        old.priority == int(Lane.LIVE),
        or_(old.wait_reason.is_(None), old.wait_reason == "debounce", old.wait_reason == "list_first"),
    )
    replaced = or_(running, new.due_at < old.due_at)
    return statement.on_conflict_do_update(
        index_elements=[old.kind, old.key, old.athlete_id],
        index_where=LIVE,
        set_={
            "version": old.version + 1,
            "hint": case((newer, new.hint), else_=old.hint),
            "calls": case((newer, new.calls), else_=old.calls),
            "hint_time": case((newer, new.hint_time), else_=old.hint_time),
            "priority": case((better, new.priority), else_=old.priority),
            "fair_position": case((better, new.fair_position), else_=old.fair_position),
            "due_at": case((debouncing, later), (replaced, new.due_at), else_=old.due_at),
            "wait_reason": case((debouncing, "debounce"), (replaced, new.wait_reason), else_=old.wait_reason),
            "debounce_until": case((running, new.debounce_until), else_=longest),
            "updated_at": new.updated_at,
        },
    )


def _merge(first: JobSpec, second: JobSpec, now: datetime) -> JobSpec:
    """Merge two specs of one batch as the upsert would: the later one wins if it is as new."""
    newer = second if second.hint_time >= first.hint_time else first
    better = second if second.lane < first.lane else first
    return JobSpec(
        first.kind,
        first.key,
        first.athlete_id,
        newer.hint,
        newer.hint_time,
        better.lane,
        better.rank,
        _due(first, second, now),
        better.first,
        min((spec.debounce_until for spec in (first, second) if spec.debounce_until), default=None),
    )


def _due(first: JobSpec, second: JobSpec, now: datetime) -> datetime:
    """Return when two specs of one batch are due: a debounced job waits for the end of its updates."""
    times = [first.due_at or now, second.due_at or now]
    if first.debounce_until is None or second.debounce_until is None:
        return min(times)
    return min(first.debounce_until, second.debounce_until, max(times))


def _values(spec: JobSpec, fair_position: int, now: datetime) -> dict[str, Any]:
    due_at = spec.due_at or now
    debounced = spec.debounce_until is not None and due_at > now
    return {
        "id": uuid7(int(now.timestamp() * 1000)),
        "kind": spec.kind,
        "key": spec.key,
        "athlete_id": spec.athlete_id,
        "state": "queued",
        **hint_columns(spec.kind, spec.hint),
        "hint_time": spec.hint_time,
        "priority": int(spec.lane),
        "fair_position": fair_position,
        "due_at": due_at,
        "wait_reason": "debounce" if debounced else None,
        "debounce_until": spec.debounce_until,
        "attempts": 0,
        "version": 1,
        "first_received_at": now,
        "updated_at": now,
    }


def hint_columns(kind: JobKind, hint: Hint) -> dict[str, Any]:
    return {"hint": encode_hint(hint), "calls": calls_of(kind, hint)}


def lock(connection: Connection, keys: Iterable[str]) -> dict[str, Lane]:
    """Lock the live jobs with these keys; return their lanes.

    Every transaction locks jobs before activities before athletes. In different orders, two would deadlock.
    """
    return {row.key: Lane(row.priority) for row in connection.execute(_LOCK, {"keys": sorted(keys)})}


def next_due(connection: Connection) -> datetime | None:
    """Return when the next queued job falls due."""
    return connection.execute(_NEXT_DUE).scalar()


def get(connection: Connection, job_id: str) -> Row[Any] | None:
    """Return the job, unless a person has discarded it."""
    query = select(jobs).where(jobs.c.id == job_id, jobs.c.state != "discarded")
    return connection.execute(query).first()
