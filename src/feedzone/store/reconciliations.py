"""Store the results of reconciliations, and the conflicts that a person must decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, select, update

from ..domain.effect import StoreReconciliation
from ..domain.ids import uuid7
from . import athletes
from .list_diff import ListDiff
from .schema.tables import conflicts, reconciliations, strava_activities, webhook_events

# Frequent statements are built once: building one takes longer than running it.
_INSERT = reconciliations.insert()
_OPEN_CONFLICT = select(conflicts).where(
    conflicts.c.athlete_id == bindparam("athlete"), conflicts.c.status == "open"
)

EVENT_DELAY = timedelta(minutes=10)
"""The event of an activity that ended less than this ago may still be on its way."""


def record(connection: Connection, result: StoreReconciliation, diff: ListDiff, now: datetime) -> None:
    """Store how many activities were listed, unannounced, changed and missing."""
    row = {
        "id": uuid7(int(now.timestamp() * 1000)),
        "athlete_id": result.athlete_id,
        "ended_at": now,
        "is_full": result.full,
        "listed": len(result.records),
        "unannounced": _unannounced(connection, result.athlete_id, diff, now) if result.latest else 0,
        "changed": len(diff.changed),
        "missing": len(result.missing),
        "calls": result.calls,
    }
    connection.execute(_INSERT, row)


def _unannounced(connection: Connection, athlete_id: int, diff: ListDiff, now: datetime) -> int:
    overdue = {record.id for record in diff.new if _event_is_overdue(record.columns, now)}
    if not overdue or athletes.has_lost_deliveries(connection, athlete_id):
        return 0  # in the second case, feedzone itself has lost the events
    # Do not count an activity whose event has arrived but whose job is still waiting.
    events = select(webhook_events.c.object_id).where(
        webhook_events.c.owner_id == athlete_id,
        webhook_events.c.object_type == "activity",
        webhook_events.c.object_id.in_(sorted(overdue)),
    )
    return len(overdue.difference(connection.execute(events).scalars()))


def _event_is_overdue(columns: dict[str, Any], now: datetime) -> bool:
    start, elapsed_s = columns.get("start_date"), columns.get("elapsed_time") or 0
    return start is not None and start + timedelta(seconds=elapsed_s) + EVENT_DELAY < now


def unannounced_since(connection: Connection, since: datetime) -> tuple[int, int]:
    """Return the number of activities without an event, and of the reconciliations that found them."""
    query = select(func.coalesce(func.sum(reconciliations.c.unannounced), 0), func.count()).where(
        reconciliations.c.ended_at >= since, reconciliations.c.unannounced > 0
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def open_conflict(
    connection: Connection, athlete_id: int, missing: Sequence[int], stored: int, now: datetime
) -> None:
    """Open a conflict about missing activities, or extend the open one; a decided one is not repeated."""
    if _was_dismissed(connection, athlete_id, missing):
        return
    conflict = _open_conflict(connection, athlete_id)
    if conflict is not None:
        _change_detail(connection, conflict, sorted({*_missing(conflict), *missing}), stored)
        return
    detail = _detail(missing, stored)
    connection.execute(
        conflicts.insert().values(
            id=uuid7(int(now.timestamp() * 1000)),
            athlete_id=athlete_id,
            kind="mass_deletion",
            detail=detail,
            status="open",
            opened_at=now,
        )
    )


def _was_dismissed(connection: Connection, athlete_id: int, missing: Sequence[int]) -> bool:
    """Return True when a person has already decided to keep all of these."""
    dismissed = select(conflicts.c.detail).where(
        conflicts.c.athlete_id == athlete_id, conflicts.c.status == "dismissed"
    )
    decided = (msgspec.json.decode(row.detail)["missing"] for row in connection.execute(dismissed))
    return any(set(missing) <= set(numbers) for numbers in decided)


def settle(connection: Connection, result: StoreReconciliation, now: datetime) -> None:
    """Remove activities from the open conflict that need no decision any more, and close an empty one.

    Those are activities that are listed again, that a job is already checking, or that are deleted.
    """
    conflict = _open_conflict(connection, result.athlete_id)
    if conflict is None:
        return
    resolved = {record.id for record in result.records}
    resolved |= {int(spec.key.partition(":")[2]) for spec in result.missing}
    unresolved = [number for number in _missing(conflict) if number not in resolved]
    existing = select(strava_activities.c.id).where(
        strava_activities.c.athlete_id == result.athlete_id,
        strava_activities.c.id.in_(unresolved),
        strava_activities.c.sync_status != "deleted",
    )
    remaining = sorted(connection.execute(existing).scalars())
    if remaining:
        _change_detail(connection, conflict, remaining, msgspec.json.decode(conflict.detail)["held"])
    else:
        closed = update(conflicts).where(conflicts.c.id == conflict.id)
        connection.execute(closed.values(status="settled", resolved_at=now))


def _open_conflict(connection: Connection, athlete_id: int) -> Row[Any] | None:
    return connection.execute(_OPEN_CONFLICT, {"athlete": athlete_id}).first()


def _missing(conflict: Row[Any]) -> list[int]:
    missing: list[int] = msgspec.json.decode(conflict.detail)["missing"]
    return missing


def _detail(missing: Sequence[int], stored: int) -> str:
    return msgspec.json.encode({"missing": list(missing), "held": stored}).decode()


def _change_detail(connection: Connection, conflict: Row[Any], missing: Sequence[int], stored: int) -> None:
    detail = _detail(missing, stored)
    connection.execute(update(conflicts).where(conflicts.c.id == conflict.id).values(detail=detail))


def open_conflicts(connection: Connection) -> Sequence[Row[Any]]:
    """Return the open conflicts of all athletes, oldest first."""
    query = select(conflicts).where(conflicts.c.status == "open").order_by(conflicts.c.id)
    return connection.execute(query).all()


def find_open(connection: Connection, conflict_id: str) -> Row[Any] | None:
    """Return an open conflict."""
    query = select(conflicts).where(conflicts.c.id == conflict_id, conflicts.c.status == "open")
    return connection.execute(query).first()


def resolve(connection: Connection, conflict_id: str, status: str, now: datetime) -> Row[Any] | None:
    """Close an open conflict with a decision; return it, or None when it is not open."""
    still_open = (conflicts.c.id == conflict_id) & (conflicts.c.status == "open")
    return connection.execute(
        update(conflicts).where(still_open).values(status=status, resolved_at=now).returning(conflicts)
    ).first()
