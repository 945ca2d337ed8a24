"""Write the change feed: changes of activities, deletions of activities, and departures of athletes.

The ids of its rows rise in the order of their commits, whichever process writes them. So a reader that
remembers the last id misses no change (docs/decisions/0018-change-feed.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, update

from ..domain.ids import stamp_at, uuid7_at
from .engine.dialect import insert_for
from .engine.last_step import collected
from .schema.tables import activity_changes, change_feed

ChangeKind = Literal["new", "changed", "deleted", "restored", "left"]

DEPARTURES: tuple[ChangeKind, ...] = ("deleted", "left")
"""The changes after which a reader must delete what it copied."""

DEPARTURES_STAY = timedelta(days=90)
"""How long they stay at least, even if RETENTION_DAYS is less: readers may be switched off for weeks."""

_columns = activity_changes.c
_INSERT = activity_changes.insert()
_FORGET_VALUES = delete(activity_changes).where(
    _columns.activity_id == bindparam("activity"), _columns.field != "sync_status"
)

_BLANK_VALUES = (
    update(activity_changes)
    .where(
        _columns.activity_id == bindparam("activity"),
        _columns.field.in_(bindparam("fields", expanding=True)),
    )
    .values(old_value="null", new_value="null")
)


def log_changes(
    connection: Connection, stored: Mapping[str, Any], values: dict[str, Any], cause: str, now: datetime
) -> None:
    """Log each of the values that differs from those of the stored row."""
    activity_id, athlete_id = stored["id"], stored["athlete_id"]
    for field, new in values.items():
        if not same_value(stored[field], new):
            log_change(connection, activity_id, athlete_id, field, stored[field], new, cause, now)


def same_value(old: Any, new: Any) -> bool:
    """Return True when both values are equal once a database has stored them."""
    if isinstance(old, float) or isinstance(new, float):
        return old is not None and new is not None and abs(old - new) < 1e-9
    return bool(old == new)


def log_change(
    connection: Connection,
    activity_id: int | None,
    athlete_id: int,
    field: str,
    old: Any,
    new: Any,
    cause: str,
    now: datetime,
) -> None:
    """Log the change of one field. The row is written when the transaction commits, and gets its id then."""
    change = {
        "activity_id": activity_id,
        "athlete_id": athlete_id,
        "kind": _kind(field, old, new),
        "field": field,
        "old_value": msgspec.json.encode(old).decode(),
        "new_value": msgspec.json.encode(new).decode(),
        "changed_at": now,
        "cause": cause,
    }
    collected(connection, _write).append(change)


def _kind(field: str, old: Any, new: Any) -> ChangeKind:
    if field == "status":
        return "left"
    if field != "sync_status":
        return "changed"
    if new == "deleted":
        return "deleted"
    return "restored" if old == "deleted" else "new"


def log_left(connection: Connection, athlete_id: int, status: str, cause: str, now: datetime) -> None:
    """Log that an athlete left. All other changes of theirs are gone: this one speaks for them."""
    rows = collected(connection, _write)
    rows[:] = [row for row in rows if row["athlete_id"] != athlete_id]
    log_change(connection, None, athlete_id, "status", status, "deauthorized", cause, now)


def forget_values(connection: Connection, activity_id: int) -> None:
    """Delete the values of an activity that is gone. That it was there and was deleted stays."""
    rows = collected(connection, _write)
    rows[:] = [row for row in rows if row["activity_id"] != activity_id or row["field"] == "sync_status"]
    connection.execute(_FORGET_VALUES, {"activity": activity_id})


def blank_values(connection: Connection, activity_id: int, fields: Collection[str]) -> None:
    """Delete the values of these fields. That they changed stays."""
    for row in collected(connection, _write):
        if row["activity_id"] == activity_id and row["field"] in fields:
            row["old_value"] = row["new_value"] = "null"
    connection.execute(_BLANK_VALUES, {"activity": activity_id, "fields": list(fields)})


def old_departures(now: datetime, age: timedelta) -> ColumnElement[bool]:
    """Match old departures: those older than `age`, but none before DEPARTURES_STAY has passed."""
    before = now - max(age, DEPARTURES_STAY)
    return and_(_columns.kind.in_(DEPARTURES), _columns.changed_at < before)


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Give the rows the next ids, and insert them.

    The update locks the one row of `change_feed` until the commit. So the next writer takes its ids after
    this transaction has become visible, and no reader sees a later id before an earlier one.
    """
    latest = max(row["changed_at"] for row in rows)
    first = stamp_at(int(latest.timestamp() * 1000))
    allocation = {"last": first + len(rows) - 1, "size": len(rows)}
    last = connection.execute(_allocate(connection.dialect.name), allocation).scalar_one()
    begin = last - len(rows) + 1
    connection.execute(_INSERT, [{"id": uuid7_at(begin + place), **row} for place, row in enumerate(rows)])


@cache
def _allocate(dialect: str) -> Any:
    """Return the statement that takes stamps: the next ones, or those of the clock if they are later.

    The clock matters after a backup was restored: ids that readers know already must not be used again.
    """
    statement = insert_for(dialect, change_feed).values(id=1, last_stamp=bindparam("last"))
    following = change_feed.c.last_stamp + bindparam("size")
    proposed = statement.excluded.last_stamp
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"last_stamp": case((proposed > following, proposed), else_=following)},
    ).returning(change_feed.c.last_stamp)
