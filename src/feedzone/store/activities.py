"""Activities: the newest observation of each, what changed in it, and what is waiting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, delete, func, or_, select, update

from ..domain.activity import ActivityRecord, StoredActivity
from ..domain.event import VisibleUpdate
from ..domain.ids import uuid7
from ..domain.job import JobSpec
from . import events
from .engine.dialect import insert_for, insert_into
from .engine.types import clean_text
from .schema.personal import ACTIVITY_TABLES
from .schema.tables import activity_changes, activity_streams, strava_activities

_table = strava_activities
_columns = _table.c
_BOOKKEEPING = frozenset(
    {
        "id",
        "athlete_id",
        "sync_status",
        "sync_attempts",
        "last_sync_error",
        "last_event_time",
        "webhook_received_at",
        "last_fetched_at",
        "deleted_at",
        "created_at",
        "updated_at",
    }
)
TYPED = tuple(c.name for c in _columns if c.name not in _BOOKKEEPING and c.name not in ("summary", "detail"))
"""The typed columns that come from Strava."""

# Statements of every activity's way are built once: to build one takes longer than to run it.
_ROW = select(_table).where(_columns.id == bindparam("activity"))
_LOCKED_ROW = _ROW.with_for_update()
_CHANGE = update(_table).where(_columns.id == bindparam("activity"))
_HELD = (
    select(
        _columns.id,
        _columns.athlete_id,
        _columns.sync_status,
        _columns.manual,
        _columns.sport_type,
        _columns.detail.is_not(None).label("detailed"),
        _columns.start_date,
        _columns.created_at,
        _columns.webhook_received_at,
        _columns.last_event_time,
        _columns.last_fetched_at,
        _columns.distance,
        _columns.moving_time,
        _columns.elapsed_time,
        activity_streams.c.state.label("stream_state"),
    )
    .outerjoin(activity_streams, activity_streams.c.activity_id == _columns.id)
    .where(_columns.id == bindparam("activity"))
)
_STALE = (
    update(_table)
    .where(
        _columns.id == bindparam("activity"),
        _columns.athlete_id == bindparam("athlete"),
        _columns.sync_status != "deleted",
    )
    .values(sync_status="pending", webhook_received_at=bindparam("now"), updated_at=bindparam("now"))
)
_COMPLETE = (
    update(_table)
    .where(_columns.id == bindparam("activity"), _columns.sync_status.in_(("syncing", "failed")))
    .values(sync_status="synced", last_sync_error=None, sync_attempts=0, updated_at=bindparam("now"))
)
_NOTE_CHANGE = activity_changes.insert()


@cache
def _placeholder(dialect: str) -> Any:
    statement = insert_for(dialect, _table).on_conflict_do_nothing(index_elements=["id"])
    return statement.returning(_columns.id)


def held(connection: Connection, activity_id: int) -> StoredActivity | None:
    row = connection.execute(_HELD, {"activity": activity_id}).first()
    if row is None:
        return None
    return StoredActivity(
        id=row.id,
        athlete_id=row.athlete_id,
        sync_status=row.sync_status,
        manual=bool(row.manual),
        sport_type=row.sport_type,
        detailed=bool(row.detailed),
        stream_state=row.stream_state,
        started=row.start_date,
        first_seen=row.created_at,
        announced=row.webhook_received_at is not None,
        told_at=row.last_event_time,
        fetched=row.last_fetched_at,
        shape=(row.distance, row.moving_time, row.elapsed_time),
    )


def stored_between(connection: Connection, athlete_id: int, after: datetime, before: datetime) -> list[int]:
    """Ids of the athlete's live activities that started in between."""
    query = select(_columns.id).where(
        _columns.athlete_id == athlete_id,
        _columns.start_date >= after,
        _columns.start_date < before,
        _columns.sync_status != "deleted",
    )
    return sorted(connection.execute(query).scalars())


def stored_count(connection: Connection, athlete_id: int, *, since: datetime | None = None) -> int:
    """How many live activities of the athlete we hold: all, or those that started since then."""
    alive = and_(_columns.athlete_id == athlete_id, _columns.sync_status != "deleted")
    query = select(func.count()).where(alive)
    if since is not None:
        query = query.where(_columns.start_date >= since)
    return connection.execute(query).scalar_one()


def left_summaries(
    connection: Connection, athlete_id: int, sports: frozenset[str] | None
) -> list[tuple[int, datetime | None]]:
    """Id and start of the activities of these sports whose detail or streams were never asked for."""
    query = (
        select(_columns.id, _columns.start_date)
        .outerjoin(activity_streams, activity_streams.c.activity_id == _columns.id)
        .where(
            _columns.athlete_id == athlete_id,
            _columns.sync_status == "synced",
            activity_streams.c.activity_id.is_(None),
        )
    )
    if sports is not None:
        query = query.where(_columns.sport_type.in_(sorted(sports)))
    return [(row.id, row.start_date) for row in connection.execute(query)]


def mark_stale(connection: Connection, specs: Sequence[JobSpec], now: datetime) -> None:
    """An event said that these changed: they are pending until the truth is fetched."""
    told = sorted({(spec.athlete_id, int(spec.key.partition(":")[2])) for spec in specs})
    rows = [{"activity": number, "athlete": athlete_id, "now": now} for athlete_id, number in told]
    if rows:
        connection.execute(_STALE, rows)


def show_update(connection: Connection, shown: VisibleUpdate, now: datetime) -> None:
    """Show at once what an event says, unless a newer event was shown already. That an activity is private
    is believed; that it no longer is, Strava itself must say: events can be forged (guarantee 3)."""
    row = connection.execute(
        select(_table).where(
            _columns.id == shown.activity_id,
            _columns.athlete_id == shown.athlete_id,
            _columns.sync_status != "deleted",
            or_(_columns.last_event_time.is_(None), _columns.last_event_time <= shown.event_time),
        )
    ).first()
    if row is None:
        return
    values: dict[str, Any] = {}
    if shown.name is not None:
        values["name"] = clean_text(shown.name)
    if shown.type is not None:
        values["type"] = values["sport_type"] = clean_text(shown.type)
        if row.type == shown.type:
            del values["sport_type"]  # the event only knows the coarse type; the finer one still fits
    if shown.private:
        values |= {"private": True, "visibility": "only_me"}
    _log_changes(connection, row, values, f"event:{shown.event_id}", now)
    connection.execute(
        update(_table)
        .where(_columns.id == shown.activity_id)
        .values(**values, last_event_time=shown.event_time, updated_at=now)
    )


def store(
    connection: Connection,
    record: ActivityRecord,
    *,
    cause: str,
    received_at: datetime | None,
    status: str,
    now: datetime,
    event_time: int = 0,
) -> None:
    """Write what Strava shows now. A summary touches only what it has; a detail is the whole truth."""
    _claim(connection, [record], now)
    row = connection.execute(_LOCKED_ROW, {"activity": record.id}).one()
    values = {name: _storable(value) for name, value in record.columns.items() if name in TYPED}
    if record.level == "detail":
        values = dict.fromkeys(TYPED) | values
    changes: dict[str, Any] = {record.level: record.raw, "sync_status": status, "updated_at": now}
    if record.level == "detail":
        changes |= {"last_fetched_at": now, "last_sync_error": None, "sync_attempts": 0}
    if received_at is not None:
        changes["webhook_received_at"] = received_at
    if event_time > (row.last_event_time or 0):
        changes["last_event_time"] = event_time
    if row.sync_status == "deleted":
        _log(connection, record.id, record.athlete_id, "sync_status", "deleted", status, cause, now)
        changes["deleted_at"] = None
    elif row.summary is None and row.detail is None:
        # Whoever follows the changes hears that it is new.
        _log(connection, record.id, record.athlete_id, "sync_status", None, status, cause, now)
    elif row.detail is not None or (record.level == "summary" and row.summary is not None):
        _log_changes(connection, row, values, cause, now)
    changes["athlete_id"] = record.athlete_id
    connection.execute(_CHANGE, {"activity": record.id, **values, **changes})


def _claim(connection: Connection, records: Sequence[ActivityRecord], now: datetime) -> set[int]:
    """Make sure that rows are there to be locked; returns the ids of those that were not.

    An insert alone would collide when two jobs see the same new activity at the same time.
    """
    rows = [
        {
            "id": record.id,
            "athlete_id": record.athlete_id,
            "sync_status": "pending",
            "sync_attempts": 0,
            "created_at": now,
            "updated_at": now,
        }
        for record in sorted(records, key=lambda record: record.id)
    ]
    return set(connection.execute(_placeholder(connection.dialect.name), rows).scalars())


def _storable(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value


def note_failure(connection: Connection, activity_id: int, error: str, *, final: bool, now: datetime) -> None:
    values: dict[str, Any] = {
        "last_sync_error": error,
        "sync_attempts": _columns.sync_attempts + 1,
        "updated_at": now,
    }
    if final:
        values["sync_status"] = "failed"
    connection.execute(
        update(_table).where(_columns.id == activity_id, _columns.sync_status != "deleted").values(values)
    )


def finish(connection: Connection, activity_id: int, now: datetime) -> None:
    """Detail and streams are as Strava has them."""
    connection.execute(_COMPLETE, {"activity": activity_id, "now": now})


def keep_summary(connection: Connection, activity_id: int, now: datetime) -> None:
    """The summary is all that is wanted of it."""
    connection.execute(
        update(_table)
        .where(_columns.id == activity_id, _columns.detail.is_(None), _columns.sync_status != "deleted")
        .values(sync_status="synced", last_sync_error=None, sync_attempts=0, updated_at=now)
    )


def tombstone(connection: Connection, activity_id: int, athlete_id: int, cause: str, now: datetime) -> None:
    """Turn the activity into a tombstone: its id stays, so that it is not taken for new; no data does."""
    new = {
        "id": activity_id,
        "athlete_id": athlete_id,
        "sync_status": "deleted",
        "created_at": now,
        "updated_at": now,
    }
    connection.execute(
        insert_into(connection, _table).values(new).on_conflict_do_nothing(index_elements=["id"])
    )
    row = connection.execute(_LOCKED_ROW, {"activity": activity_id}).one()
    if row.athlete_id != athlete_id or row.deleted_at is not None:
        return
    blank = {
        **dict.fromkeys((*TYPED, "summary", "detail", "last_sync_error")),
        "sync_status": "deleted",
        "deleted_at": now,
        "updated_at": now,
    }
    connection.execute(_CHANGE, {"activity": activity_id, **blank})
    for table in ACTIVITY_TABLES:
        connection.execute(delete(table).where(table.c.activity_id == activity_id))
    # The audit trail keeps that it went and came back, not what it said.
    connection.execute(
        delete(activity_changes).where(
            activity_changes.c.activity_id == activity_id, activity_changes.c.field != "sync_status"
        )
    )
    events.redact_activity(connection, activity_id)
    before = row.sync_status if row.sync_status != "deleted" else None
    _log(connection, activity_id, athlete_id, "sync_status", before, "deleted", cause, now)


def _log_changes(
    connection: Connection, row: Row[Any], values: dict[str, Any], cause: str, now: datetime
) -> None:
    old = row._mapping
    for field, new in values.items():
        if not same(old[field], new):
            _log(connection, row.id, row.athlete_id, field, old[field], new, cause, now)


def same(old: Any, new: Any) -> bool:
    """Equal as far as the database can tell."""
    if isinstance(old, float) or isinstance(new, float):
        return old is not None and new is not None and abs(old - new) < 1e-9
    return bool(old == new)


def _log(
    connection: Connection,
    activity_id: int,
    athlete_id: int,
    field: str,
    old: Any,
    new: Any,
    cause: str,
    now: datetime,
) -> None:
    change = {
        "id": uuid7(int(now.timestamp() * 1000)),
        "activity_id": activity_id,
        "athlete_id": athlete_id,
        "field": field,
        "old_value": msgspec.json.encode(old).decode(),
        "new_value": msgspec.json.encode(new).decode(),
        "changed_at": now,
        "cause": cause,
    }
    connection.execute(_NOTE_CHANGE, change)


class Comparison(NamedTuple):
    """Summaries beside our rows: those we did not have, and those that tell of something else."""

    new: list[ActivityRecord]
    changed: list[ActivityRecord]


def compare(
    connection: Connection, records: Sequence[ActivityRecord], now: datetime, *, given_up: bool = True
) -> Comparison:
    """Compare summaries with what we hold; what is unfinished, or `given_up`, counts as changed.

    The rows are there and locked afterwards, so that what was compared is what will be written.
    """
    if not records:
        return Comparison([], [])
    created = _claim(connection, records, now)
    wanted = {record.id: record for record in records}
    locked = select(_table).where(_columns.id.in_(sorted(wanted))).order_by(_columns.id).with_for_update()
    rows = {row.id: row for row in connection.execute(locked).all()}
    changed = [r for r in wanted.values() if r.id not in created and _differs(rows[r.id], r, given_up)]
    return Comparison([wanted[number] for number in wanted if number in created], changed)


def _differs(row: Row[Any], record: ActivityRecord, given_up: bool) -> bool:
    if row.sync_status != "synced" and (given_up or row.sync_status != "failed"):
        return True
    old = row._mapping
    told = record.columns.items()
    return any(not same(old[field], _storable(value)) for field, value in told if field in TYPED)


def mark_pending(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """A list says that these have changed: they are pending until the truth is fetched."""
    stale = and_(_columns.id.in_(sorted(ids)), _columns.sync_status.not_in(("deleted", "pending")))
    connection.execute(update(_table).where(stale).values(sync_status="pending", updated_at=now))


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    return connection.execute(_ROW, {"activity": activity_id}).first()
