"""Gear: the bikes and shoes of an athlete's profile, the unused, the retired and the deleted (pain 57)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, update

from ..domain.gear import GearListing, GearRecord
from .engine.dialect import insert_into
from .schema.tables import strava_gear

_columns = strava_gear.c


def store(connection: Connection, told: GearListing, now: datetime) -> None:
    """Write what changed. What a list that was told has no more stays, and is marked as removed."""
    mine = _columns.athlete_id == told.athlete_id
    held = {row.id: row for row in connection.execute(select(strava_gear).where(mine).with_for_update())}
    listed = {item.id: item for item in told.items}
    changed = [one for one in listed.values() if _differs(held.get(one.id), one)]
    if changed:
        _upsert(connection, told.athlete_id, changed, now)
    gone = sorted(
        row.id
        for row in held.values()
        if row.removed_at is None and row.kind in told.kinds and row.id not in listed
    )
    if gone:
        connection.execute(
            update(strava_gear).where(mine, _columns.id.in_(gone)).values(removed_at=now, updated_at=now)
        )


def _differs(row: Row[Any] | None, item: GearRecord) -> bool:
    return row is None or row.removed_at is not None or row.raw != item.raw


def _upsert(connection: Connection, athlete_id: int, items: Sequence[GearRecord], now: datetime) -> None:
    rows = [
        {
            "athlete_id": athlete_id,
            **msgspec.structs.asdict(item),
            "removed_at": None,
            "created_at": now,
            "updated_at": now,
        }
        for item in items
    ]
    statement = insert_into(connection, strava_gear)
    renewed = {
        column.name: statement.excluded[column.name]
        for column in _columns
        if column.name not in ("athlete_id", "id", "created_at")
    }
    connection.execute(
        statement.on_conflict_do_update(index_elements=["athlete_id", "id"], set_=renewed), rows
    )


def listing(connection: Connection, athlete_id: int) -> Sequence[Row[Any]]:
    """Bikes, then shoes; those that were removed, too."""
    query = select(strava_gear).where(_columns.athlete_id == athlete_id).order_by(_columns.kind, _columns.id)
    return connection.execute(query).all()
