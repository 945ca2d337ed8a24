"""Reconciliation: what comparisons with Strava found, and what they did not dare to decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select, update

from ..domain.effect import StoreReconciliation
from ..domain.ids import uuid7
from .activities import Comparison
from .schema.tables import conflicts, reconciliations, strava_activities, webhook_events

SETTLED = timedelta(minutes=10)
"""An activity that ended less than this ago may still be on its way as an event."""


def note(connection: Connection, sweep: StoreReconciliation, found: Comparison, now: datetime) -> None:
    connection.execute(
        reconciliations.insert().values(
            id=uuid7(int(now.timestamp() * 1000)),
            athlete_id=sweep.athlete_id,
            ended_at=now,
            is_full=sweep.full,
            listed=len(sweep.records),
            unannounced=_unannounced(connection, sweep.athlete_id, found, now) if sweep.latest else 0,
            changed=len(found.changed),
            missing=len(sweep.missing),
            calls=sweep.calls,
        )
    )


def _unannounced(connection: Connection, athlete_id: int, found: Comparison, now: datetime) -> int:
    quiet = {record.id for record in found.new if _settled(record.columns, now)}
    if not quiet:
        return 0
    # An event may have come whose job still waits.
    events = select(webhook_events.c.object_id).where(
        webhook_events.c.owner_id == athlete_id,
        webhook_events.c.object_type == "activity",
        webhook_events.c.object_id.in_(sorted(quiet)),
    )
    return len(quiet.difference(connection.execute(events).scalars()))


def _settled(columns: dict[str, Any], now: datetime) -> bool:
    start, took = columns.get("start_date"), columns.get("elapsed_time") or 0
    return start is not None and start + timedelta(seconds=took) + SETTLED < now


def unannounced_since(connection: Connection, since: datetime) -> tuple[int, int]:
    """How many activities no event told of, and in how many sweeps they were found."""
    query = select(func.coalesce(func.sum(reconciliations.c.unannounced), 0), func.count()).where(
        reconciliations.c.ended_at >= since, reconciliations.c.unannounced > 0
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def open_conflict(
    connection: Connection, athlete_id: int, missing: Sequence[int], held: int, now: datetime
) -> None:
    """Ask once: an open question is added to, an answered one is not repeated."""
    if _answered(connection, athlete_id, missing):
        return
    question = _open_question(connection, athlete_id)
    if question is not None:
        _ask_about(connection, question, sorted({*_missing(question), *missing}), held)
        return
    detail = _detail(missing, held)
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


def _answered(connection: Connection, athlete_id: int, missing: Sequence[int]) -> bool:
    """Whether a person has said that all of these are to be kept."""
    kept = select(conflicts.c.detail).where(
        conflicts.c.athlete_id == athlete_id, conflicts.c.status == "dismissed"
    )
    answers = (msgspec.json.decode(row.detail)["missing"] for row in connection.execute(kept))
    return any(set(missing) <= set(answer) for answer in answers)


def settle(connection: Connection, sweep: StoreReconciliation, now: datetime) -> None:
    """What is listed again, asked for or gone meanwhile is in doubt no more; the rest of the question stays.

    When nothing is left of it, nobody need answer any more.
    """
    question = _open_question(connection, sweep.athlete_id)
    if question is None:
        return
    known = {record.id for record in sweep.records}
    known |= {int(spec.key.partition(":")[2]) for spec in sweep.missing}
    doubtful = [number for number in _missing(question) if number not in known]
    live = select(strava_activities.c.id).where(
        strava_activities.c.athlete_id == sweep.athlete_id,
        strava_activities.c.id.in_(doubtful),
        strava_activities.c.sync_status != "deleted",
    )
    left = sorted(connection.execute(live).scalars())
    if left:
        _ask_about(connection, question, left, msgspec.json.decode(question.detail)["held"])
    else:
        closed = update(conflicts).where(conflicts.c.id == question.id)
        connection.execute(closed.values(status="settled", resolved_at=now))


def _open_question(connection: Connection, athlete_id: int) -> Row[Any] | None:
    mine = select(conflicts).where(conflicts.c.athlete_id == athlete_id, conflicts.c.status == "open")
    return connection.execute(mine).first()


def _missing(question: Row[Any]) -> list[int]:
    found: list[int] = msgspec.json.decode(question.detail)["missing"]
    return found


def _detail(missing: Sequence[int], held: int) -> str:
    return msgspec.json.encode({"missing": list(missing), "held": held}).decode()


def _ask_about(connection: Connection, question: Row[Any], missing: Sequence[int], held: int) -> None:
    detail = _detail(missing, held)
    connection.execute(update(conflicts).where(conflicts.c.id == question.id).values(detail=detail))


def open_conflicts(connection: Connection) -> Sequence[Row[Any]]:
    query = select(conflicts).where(conflicts.c.status == "open").order_by(conflicts.c.id)
    return connection.execute(query).all()


def resolve(connection: Connection, conflict_id: str, status: str, now: datetime) -> Row[Any] | None:
    """Close an open question; returns it, or None when it is not open."""
    still_open = (conflicts.c.id == conflict_id) & (conflicts.c.status == "open")
    return connection.execute(
        update(conflicts).where(still_open).values(status=status, resolved_at=now).returning(conflicts)
    ).first()
