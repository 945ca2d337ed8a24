"""Remove the rows of athletes who have left, in small transactions (guarantee 6).

A purge ends the access and removes the first rows. While more are left, the athlete stands in the table
`removals`: reads skip the rows, and a new consent waits for the end (services/athletes.py). Each step is
repeatable, so a crash between two of them costs nothing: the next process goes on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    select,
    update,
)

from . import batches
from .change_log import log_left
from .engine.database import Database
from .schema.personal import ATHLETE_TABLES
from .schema.tables import call_log, deletion_receipts, jobs, removals, strava_athletes, webhook_events

_columns = removals.c
_KEPT = {"id", "status", "status_reason", "token_generation", "connected_at", "updated_at"}
"""The columns of an athlete that keep their values: they recognize late events."""

REVOCATION = "revoke_athlete"
"""The kind of the job that ends our access at Strava, after the departure."""

_DELETE_REVOCATIONS = delete(jobs).where(jobs.c.athlete_id == bindparam("athlete"), jobs.c.kind == REVOCATION)
_OPEN = select(_columns.athlete_id)
_NEXT = _OPEN.order_by(_columns.receipt_id).limit(1)
_IS_OPEN = _OPEN.where(_columns.athlete_id == bindparam("athlete"))
_LOCKED = (
    select(_columns.athlete_id, _columns.status, deletion_receipts.c.cause)
    .join(deletion_receipts, deletion_receipts.c.id == _columns.receipt_id)
    .where(_columns.athlete_id == bindparam("athlete"))
    .with_for_update(of=removals)
)
_END = delete(removals).where(_columns.athlete_id == bindparam("athlete"))


def _some(table: Table, owner: str, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    """Match at most `most` of an athlete's rows."""
    matching = and_(table.c[owner] == bindparam("athlete"), *more)
    keys = [column for column in table.primary_key if column.name != owner]
    if not keys:
        return matching  # one row an athlete
    (key,) = keys
    return and_(matching, key.in_(select(key).where(matching).limit(bindparam("most")).correlate(None)))


_NO_PROOF = webhook_events.c.id.is_distinct_from(bindparam("proof"))
_DELETE_EVENTS = delete(webhook_events).where(_some(webhook_events, "owner_id", _NO_PROOF))
_STEPS: tuple[Delete | Update, ...] = (
    # Jobs are the first: what a job that still ran has written is removed after it.
    delete(jobs).where(_some(jobs, "athlete_id", jobs.c.kind != REVOCATION)),
    *(delete(table).where(_some(table, "athlete_id")) for table in ATHLETE_TABLES if table is not jobs),
    _DELETE_EVENTS,
    # The calls still count, but no longer say for which athlete and activity.
    update(call_log).where(_some(call_log, "athlete_id")).values(athlete_id=None, activity_id=None),
)


def is_visible(owner: ColumnElement[int]) -> ColumnElement[bool]:
    """Match rows of athletes, except of those whose rows are being removed."""
    return owner.not_in(_OPEN)


def is_complete(receipt: ColumnElement[str]) -> ColumnElement[bool]:
    """Match receipts of athletes of whom no row is left."""
    return receipt.not_in(select(_columns.receipt_id))


def is_open(connection: Connection, athlete_id: int) -> bool:
    """Return whether the athlete has left and more rows must be removed."""
    return connection.execute(_IS_OPEN, {"athlete": athlete_id}).first() is not None


def begin(connection: Connection, athlete_id: int, status: str, receipt_id: str, now: datetime) -> None:
    """Remove the first rows of an athlete who had this status; `step` removes the others."""
    row = {"athlete_id": athlete_id, "status": status, "receipt_id": receipt_id}
    connection.execute(removals.insert().values(row))
    blank(connection, athlete_id)
    connection.execute(_DELETE_REVOCATIONS, {"athlete": athlete_id})  # that of this departure comes later
    _advance(connection, athlete_id, now)


def step(connection: Connection, now: datetime) -> bool:
    """Remove some rows of the athlete who left first. Return False if nobody's rows are left."""
    athlete_id = connection.execute(_NEXT).scalar()
    if athlete_id is None:
        return False
    _advance(connection, athlete_id, now)
    return True


async def complete(database: Database, now: datetime) -> bool:
    """Remove all rows of all athletes who have left, in small transactions. Return whether there were any."""
    steps = 0
    if await database.read(lambda c: c.execute(_NEXT).first()) is not None:
        while await database.write(lambda c: step(c, now)):
            steps += 1
    return steps > 0


def _advance(connection: Connection, athlete_id: int, now: datetime) -> None:
    removal = connection.execute(_LOCKED, {"athlete": athlete_id}).first()
    if removal is None:
        return  # another process has removed the last rows
    proof = {"proof": proof_of(removal.cause)}
    left = batches.AT_ONCE
    for statement in _STEPS:
        # Once more after the last rows: a job that ended meanwhile may have enqueued another.
        while removed := connection.execute(
            statement,
            {"athlete": athlete_id, "most": left} | (proof if statement is _DELETE_EVENTS else {}),
        ).rowcount:
            left -= removed
            if left <= 0:
                return
    blank(connection, athlete_id)
    connection.execute(_END, {"athlete": athlete_id})
    log_left(connection, athlete_id, removal.status, removal.cause, now)


def proof_of(cause: str) -> str | None:
    """Return the id of the event that proves a departure; None if no event does."""
    return cause.removeprefix("event:") if cause.startswith("event:") else None


def blank(connection: Connection, athlete_id: int) -> None:
    """Keep only the id of the athlete, so that late events can be recognized."""
    empty: dict[str, Any] = {
        column.name: False if not column.nullable and "BOOL" in str(column.type) else None
        for column in strava_athletes.c
        if column.name not in _KEPT
    }
    empty["initial_sync_found"] = 0
    connection.execute(update(strava_athletes).where(strava_athletes.c.id == athlete_id).values(empty))
