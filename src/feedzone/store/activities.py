"""Store activities: the newest known state of each, and the state of its sync."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from ..domain.activity import EVIDENCE_COLUMNS, ActivityRecord, StoredActivity, should_have_streams
from ..domain.json_text import clean_text
from . import events, hidden_tracks, shown_updates
from .change_log import forget_values, log_change, log_changes
from .engine.dialect import among, insert_for, insert_into
from .schema.personal import ACTIVITY_TABLES, words_of_activity
from .schema.tables import activity_streams, strava_activities

_table = strava_activities
_columns = _table.c
_BOOKKEEPING = frozenset(
    {
        "id",
        "athlete_id",
        "sync_status",
        "sync_attempts",
        "last_sync_error",
        "fingerprint",
        "no_track",
        "accepted_difference",
        "last_event_time",
        "unconfirmed",
        "unconfirmed_until",
        "webhook_received_at",
        "last_fetched_at",
        "deleted_at",
        "created_at",
        "updated_at",
    }
)
STRAVA_COLUMNS = tuple(
    c.name for c in _columns if c.name not in _BOOKKEEPING and c.name not in ("summary", "detail")
)
"""The typed columns whose values come from Strava."""

# These statements run for every activity. They are built once, as building one takes longer than running it.
_ROW = select(_table).where(_columns.id == bindparam("activity"))
_LOCKED_ROW = _ROW.with_for_update()
_LOCKED_ROWS = select(_table).where(among(_columns.id, "ids")).order_by(_columns.id).with_for_update()
_CHANGE = update(_table).where(_columns.id == bindparam("activity"))
_STORED = (
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
        *(_columns[name] for name in EVIDENCE_COLUMNS),
        activity_streams.c.state.label("stream_state"),
        _columns.fingerprint,
        activity_streams.c.fingerprint.label("streams_fingerprint"),
        activity_streams.c.streamless_since,
    )
    .outerjoin(activity_streams, activity_streams.c.activity_id == _columns.id)
    .where(among(_columns.id, "ids"))
)
_TOMBSTONES = select(_columns.id).where(among(_columns.id, "ids"), _columns.sync_status == "deleted")
_MARK_PENDING = (
    update(_table)
    .where(
        among(_columns.id, "ids"),
        _columns.sync_status.not_in(("deleted", "pending")),
    )
    .values(sync_status="pending", updated_at=bindparam("now"))
)
_MARK_ANNOUNCED = (
    update(_table)
    .where(
        _columns.id == bindparam("activity"),
        _columns.athlete_id == bindparam("athlete"),
        _columns.sync_status != "deleted",
    )
    .values(sync_status="pending", webhook_received_at=bindparam("received"), updated_at=bindparam("now"))
)
_MARK_SYNCED = (
    update(_table)
    .where(_columns.id == bindparam("activity"), _columns.sync_status.in_(("syncing", "failed")))
    .values(sync_status="synced", last_sync_error=None, sync_attempts=0, updated_at=bindparam("now"))
)


@cache
def _insert_if_absent(dialect: str) -> Any:
    statement = insert_for(dialect, _table).on_conflict_do_nothing(index_elements=["id"])
    return statement.returning(_columns.id)


def load(connection: Connection, activity_id: int) -> StoredActivity | None:
    """Return what a handler needs to know about the stored activity; None if there is no row."""
    return load_all(connection, [activity_id]).get(activity_id)


def load_all(connection: Connection, ids: Iterable[int]) -> dict[int, StoredActivity]:
    """Return the same of several activities, without those that have no row."""
    return {row.id: _stored(row) for row in connection.execute(_STORED, {"ids": sorted(ids)})}


def _stored(row: Any) -> StoredActivity:
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
        last_event_time=row.last_event_time,
        fetched=row.last_fetched_at,
        fingerprint=row.fingerprint,
        streams_fingerprint=row.streams_fingerprint,
        streamless_since=row.streamless_since,
        recorded=should_have_streams(dict(row._mapping)),
    )


def existing(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Return which of these activities are stored and not deleted."""
    query = select(_columns.id).where(_columns.id.in_(sorted(ids)), _columns.sync_status != "deleted")
    return set(connection.execute(query).scalars())


def tombstones(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Return those of the activities that are deleted."""
    return set(connection.execute(_TOMBSTONES, {"ids": sorted(ids)}).scalars())


def mark_announced(
    connection: Connection, received: Mapping[tuple[int, int], datetime], now: datetime
) -> None:
    """Mark activities that events announced: they are pending until their current state is fetched.

    `received`: when the latest event was received, by athlete and activity.
    """
    rows = [
        {"activity": activity_id, "athlete": athlete_id, "received": at, "now": now}
        for (athlete_id, activity_id), at in sorted(received.items())
    ]
    if rows:
        connection.execute(_MARK_ANNOUNCED, rows)


class News(NamedTuple):
    """The state that Strava shows of an activity now, and how feedzone learned of it."""

    record: ActivityRecord
    cause: str
    status: str
    """Its sync_status from now on."""
    received_at: datetime | None = None
    event_time: int = 0


def store(
    connection: Connection,
    record: ActivityRecord,
    *,
    cause: str,
    received_at: datetime | None,
    status: str,
    now: datetime,
    event_time: int = 0,
) -> bool:
    """Write one activity. Return whether it differs from what Strava showed before."""
    rows = lock(connection, [record], (), now)
    news = News(record, cause, status, received_at, event_time)
    return record.id in store_all(connection, [news], rows, now)


def lock(
    connection: Connection, records: Sequence[ActivityRecord], others: Iterable[int], now: datetime
) -> dict[int, Row[Any]]:
    """Lock the rows of these activities and of others, in the order of their ids; insert missing ones."""
    if records:
        ensure_rows(connection, records, now)
    ids = sorted({record.id for record in records} | set(others))
    return {row.id: row for row in connection.execute(_LOCKED_ROWS, {"ids": ids})}


def store_all(
    connection: Connection, news: Sequence[News], rows: Mapping[int, Row[Any]], now: datetime
) -> set[int]:
    """Write the state that Strava shows now into the locked `rows`. Return which ones it changes.

    A summary changes only the columns that it has. A detail is complete, so it clears the others.
    """
    changed: set[int] = set()
    writes: dict[frozenset[str], list[dict[str, Any]]] = {}
    for each in news:
        row, record = rows[each.record.id], each.record
        values = _values(connection, row, each, now)
        writes.setdefault(frozenset(values), []).append({"activity": record.id, **values})
        if row.sync_status == "deleted" or row._mapping[record.level] != record.raw:
            changed.add(record.id)
    for group in writes.values():
        connection.execute(_CHANGE, group if len(group) > 1 else group[0])
    for each in news:
        row = rows[each.record.id]
        if not row.no_track and hidden_tracks.shows_no_track(row, each.record):
            hidden_tracks.forget(connection, row, each.record)
    return changed


def _values(connection: Connection, row: Row[Any], news: News, now: datetime) -> dict[str, Any]:
    """Return the columns to write, and log what changes."""
    record, status, cause = news.record, news.status, news.cause
    values = {name: storable(value) for name, value in record.columns.items() if name in STRAVA_COLUMNS}
    if record.level == "detail":
        values = dict.fromkeys(STRAVA_COLUMNS) | values
    changes: dict[str, Any] = {record.level: record.raw, "sync_status": status, "updated_at": now}
    if record.level == "detail":
        changes |= {"last_fetched_at": now, "last_sync_error": None, "sync_attempts": 0}
        changes["fingerprint"] = record.fingerprint
    no_track = hidden_tracks.shows_no_track(row, record)
    if no_track is not None:
        changes["no_track"] = no_track
    if news.received_at is not None:
        changes["webhook_received_at"] = news.received_at
    if news.event_time > (row.last_event_time or 0):
        changes["last_event_time"] = news.event_time
    if row.sync_status == "deleted":
        log_change(connection, record.id, record.athlete_id, "sync_status", "deleted", status, cause, now)
        changes["deleted_at"] = None
    elif row.summary is None and row.detail is None:
        # The readers of the change feed see that it is new.
        log_change(connection, record.id, record.athlete_id, "sync_status", None, status, cause, now)
    elif row.detail is not None or (record.level == "summary" and row.summary is not None):
        log_changes(connection, shown_updates.confirmed_values(row), values, cause, now)
    changes |= shown_updates.forget(row, values)
    changes["athlete_id"] = record.athlete_id
    return values | changes


def ensure_rows(connection: Connection, records: Sequence[ActivityRecord], now: datetime) -> set[int]:
    """Insert the rows that do not exist yet, so that all can be locked; return the ids of the new ones.

    A plain insert would fail when two jobs see the same new activity at the same time.
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
    return set(connection.execute(_insert_if_absent(connection.dialect.name), rows).scalars())


def storable(value: Any) -> Any:
    """Return the value as the database stores it."""
    return clean_text(value) if isinstance(value, str) else value


def note_failure(connection: Connection, activity_id: int, error: str, *, final: bool, now: datetime) -> None:
    """Record a failed attempt; with `final` the activity counts as failed."""
    values: dict[str, Any] = {
        "last_sync_error": error,
        "sync_attempts": _columns.sync_attempts + 1,
        "updated_at": now,
    }
    if final:
        values["sync_status"] = "failed"
        shown_updates.take_back_activity(connection, activity_id, now)
    connection.execute(
        update(_table).where(_columns.id == activity_id, _columns.sync_status != "deleted").values(values)
    )


def mark_synced(connection: Connection, activity_id: int, now: datetime) -> None:
    """Mark the activity as synced: its detail and its streams are stored."""
    connection.execute(_MARK_SYNCED, {"activity": activity_id, "now": now})


def keep_summary(connection: Connection, activity_id: int, now: datetime) -> None:
    """Mark the activity as synced with only its summary, because its sport is not selected."""
    connection.execute(
        update(_table)
        .where(_columns.id == activity_id, _columns.detail.is_(None), _columns.sync_status != "deleted")
        .values(sync_status="synced", last_sync_error=None, sync_attempts=0, updated_at=now)
    )


def tombstone(
    connection: Connection, activity_id: int, athlete_id: int, cause: str, now: datetime, event_time: int = 0
) -> None:
    """Replace the activity by a tombstone, which keeps only the id so that it is never taken for new.

    `event_time` is that of the event that announced it, epoch seconds: an older create changes nothing.
    """
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
    if row.athlete_id != athlete_id:
        return
    # Also when it is a tombstone already: an older update may have arrived since.
    events.redact_activity(connection, activity_id)
    newest = max(event_time, row.last_event_time or 0) or None
    if row.deleted_at is not None:
        connection.execute(_CHANGE, {"activity": activity_id, "last_event_time": newest})
        return
    blank = {
        **dict.fromkeys((*words_of_activity(_table), "last_sync_error")),
        "sync_status": "deleted",
        "deleted_at": now,
        "updated_at": now,
        "last_event_time": newest,
    }
    connection.execute(_CHANGE, {"activity": activity_id, **blank})
    for table in ACTIVITY_TABLES:
        connection.execute(delete(table).where(table.c.activity_id == activity_id))
    forget_values(connection, activity_id)
    if row.sync_status != "deleted":  # otherwise it was never stored, and no reader of the feed knows it
        log_change(connection, activity_id, athlete_id, "sync_status", row.sync_status, "deleted", cause, now)


def mark_pending(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Mark activities that a list shows as changed: they are pending until they are fetched."""
    if listed := sorted(ids):
        connection.execute(_MARK_PENDING, {"ids": listed, "now": now})


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    """Return the whole row."""
    return connection.execute(_ROW, {"activity": activity_id}).first()
