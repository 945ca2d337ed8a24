"""Events that are stored and have no job yet: the work of the dispatcher (ingest/dispatcher.py).

Such an event is pending until the dispatcher has enqueued its job or ignored it. An event at which the
dispatcher fails is set aside: it has failed, and has no job.

These statements run for every event. They are SQL text, because building rows from objects takes longer than
storing them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, literal_column, select, update

from ..domain.event import IgnoredBecause, Signature
from .batches import update_in_batches
from .engine.database import Database
from .engine.dialect import among
from .engine.types import Instant
from .schema.tables import webhook_events

_columns = webhook_events.c

# Literals, so that the partial index matches.
_HAS_NO_JOB = _columns.job_id.is_(None)
_WAITS = (_columns.status == literal_column("'pending'"), _HAS_NO_JOB)
_IS_SET_ASIDE = (_columns.status == literal_column("'failed'"), _HAS_NO_JOB)


class NewEvent(NamedTuple):
    """The columns of an event that differ within a group of deliveries."""

    id: str
    event_data: str
    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    subscription_id: int
    event_time: int
    dedup_key: str
    signature: Signature
    crowded: bool


_NAMES = ", ".join(NewEvent._fields)

_INSERT_ON_SQLITE = (
    f"INSERT INTO webhook_events (status, attempts, created_at, {_NAMES}) "  # noqa: S608  (our column names)
    "VALUES ('pending', 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (dedup_key) DO NOTHING"
)
_PRESENT_ON_SQLITE = "SELECT id FROM webhook_events WHERE id IN (SELECT value FROM json_each(?))"

# Sorted, because two processes that store the same events in different order would deadlock.
# Only PostgreSQL can wake the dispatchers of other processes; it does so at commit, once for all rows.
_INSERT_ON_POSTGRESQL = f"""
WITH stored AS (
  INSERT INTO webhook_events (status, attempts, created_at, {_NAMES})
  SELECT 'pending', 0, $1, id, event_data::json, object_type, object_id, aspect_type, owner_id,
    subscription_id, event_time, dedup_key, signature, crowded
  FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::text[], $11::text[], $12::boolean[]) AS new ({_NAMES})
  ORDER BY dedup_key, id
  ON CONFLICT (dedup_key) DO NOTHING
  RETURNING id
)
SELECT id::text, pg_notify('feedzone_events', '') FROM stored
"""  # noqa: S608  (our column names)

_LINK_ON_SQLITE = "UPDATE webhook_events SET job_id = ?, job_version = ? WHERE id = ?"
_LINK_ON_POSTGRESQL = """\
UPDATE webhook_events SET job_id = link.job, job_version = link.version
FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS link (job, version, event)
WHERE webhook_events.id = link.event
"""

_CLAIM: Select[Any] = (
    select(
        _columns.id,
        _columns.event_data,
        _columns.created_at,
        _columns.object_type,
        _columns.object_id,
        _columns.aspect_type,
        _columns.owner_id,
        _columns.subscription_id,
        _columns.event_time,
        _columns.signature,
        _columns.crowded,
    )
    .where(*_WAITS)
    .order_by(_columns.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_CLAIM_ONE = _CLAIM.where(_columns.id == bindparam("event"))
_EARLIER = select(_columns.id, _columns.object_id).where(
    *_WAITS,
    among(_columns.object_id, "objects"),
    _columns.id < bindparam("before"),
    _columns.id.not_in(bindparam("claimed", expanding=True)),
)
_ANY = select(_columns.id).where(*_WAITS).limit(1)
_OLDEST = select(_columns.created_at).where(*_WAITS).order_by(_columns.id).limit(1)
_IDS = select(_columns.id).where(*_WAITS).order_by(_columns.id).limit(bindparam("most"))
_THIS = update(webhook_events).where(_columns.id == bindparam("event"))
_IGNORE = _THIS.values(
    status="ignored",
    processed_at=bindparam("now"),
    error_message=bindparam("why"),
    ignored_because=bindparam("because"),
)
_SET_ASIDE = (
    update(webhook_events)
    .where(_columns.id == bindparam("event"), *_WAITS)
    .values(
        status="failed",
        processed_at=bindparam("now"),
        error_message=bindparam("error"),
        attempts=_columns.attempts + 1,
    )
    .returning(_columns.owner_id)
)
_COUNT_SET_ASIDE = select(func.count()).select_from(webhook_events).where(*_IS_SET_ASIDE)


def insert(connection: Connection, rows: Sequence[NewEvent], now: datetime) -> set[str]:
    """Insert events, except those that were delivered before; return the ids of the new ones."""
    at = Instant().process_bind_param(now, connection.dialect)
    if connection.dialect.name == "postgresql":
        columns = (list(column) for column in zip(*rows, strict=True))
        stored = connection.exec_driver_sql(_INSERT_ON_POSTGRESQL, (at, *columns))
        return set(stored.scalars())
    count = connection.exec_driver_sql(_INSERT_ON_SQLITE, [(at, *row) for row in rows]).rowcount
    if count == len(rows):
        return {row.id for row in rows}
    ids = '["' + '","'.join(row.id for row in rows) + '"]'
    return set(connection.exec_driver_sql(_PRESENT_ON_SQLITE, (ids,)).scalars())


def any_waiting(connection: Connection) -> bool:
    """Return whether an event waits for the dispatcher."""
    return connection.execute(_ANY).first() is not None


def oldest(connection: Connection) -> datetime | None:
    """Return when the event was stored that waits longest for the dispatcher."""
    return connection.execute(_OLDEST).scalar()


def waiting(connection: Connection, most: int) -> Sequence[str]:
    """Return the ids of the events that wait longest."""
    return connection.execute(_IDS, {"most": most}).scalars().all()


class Claim(NamedTuple):
    """Events that this transaction has locked, in their order."""

    rows: Sequence[Row[Any]]
    is_partial: bool = False
    """Whether others had to be left out, because another process dispatches an earlier one of the object."""


def claim(connection: Connection, most: int) -> Claim:
    """Lock the events that wait longest. Other processes skip them until this transaction ends."""
    return _in_order(connection, connection.execute(_CLAIM, {"most": most}).all())


def claim_one(connection: Connection, event_id: str) -> Claim:
    """Lock this event, if it still waits."""
    return _in_order(connection, connection.execute(_CLAIM_ONE, {"most": 1, "event": event_id}).all())


def _in_order(connection: Connection, rows: Sequence[Any]) -> Claim:
    """Leave out events with an earlier one of the same object that another process dispatches now."""
    if connection.dialect.name != "postgresql" or not rows:
        return Claim(rows)  # differs because SQLite has one writer
    which = {
        "objects": sorted({row.object_id for row in rows}),
        "before": rows[-1].id,
        "claimed": [row.id for row in rows],
    }
    earliest: dict[int, str] = {}
    for earlier in connection.execute(_EARLIER, which):
        earliest[earlier.object_id] = min(earlier.id, earliest.get(earlier.object_id, earlier.id))
    ordered = [row for row in rows if row.object_id not in earliest or row.id < earliest[row.object_id]]
    return Claim(ordered, is_partial=len(ordered) < len(rows))


def link_jobs(connection: Connection, jobs_by_event: Mapping[str, Row[Any]]) -> None:
    """Record with each event which job, and which version of it, will bring its object up to date."""
    if not jobs_by_event:
        return
    links = [(job.id, job.version, event_id) for event_id, job in jobs_by_event.items()]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_LINK_ON_POSTGRESQL, tuple(map(list, zip(*links, strict=True))))
    else:
        connection.exec_driver_sql(_LINK_ON_SQLITE, links)


def ignore(
    connection: Connection, why_by_event: Mapping[str, tuple[IgnoredBecause, str]], now: datetime
) -> None:
    """Record that these events cause no job: the code, and the words for people."""
    rows = [
        {"event": event_id, "now": now, "because": because, "why": why}
        for event_id, (because, why) in why_by_event.items()
    ]
    if rows:
        connection.execute(_IGNORE, rows)


def remove(connection: Connection, ids: Sequence[str]) -> None:
    """Remove events of athletes who have left."""
    connection.execute(webhook_events.delete().where(_columns.id.in_(ids)))


def set_aside(connection: Connection, event_id: str, error: str, now: datetime) -> int | None:
    """Mark an event that cannot be dispatched as failed; return its owner. None: it waits no more."""
    which = {"event": event_id, "error": error, "now": now}
    owner: int | None = connection.execute(_SET_ASIDE, which).scalar()
    return owner


def count_set_aside(connection: Connection) -> int:
    """Count the events that could not be dispatched."""
    return connection.execute(_COUNT_SET_ASIDE).scalar_one()


async def take_up(database: Database) -> int:
    """Let the dispatcher try again all events that were set aside; return how many."""
    waiting = {"status": "pending", "processed_at": None, "error_message": None}
    return await update_in_batches(database, webhook_events, and_(*_IS_SET_ASIDE), **waiting)
