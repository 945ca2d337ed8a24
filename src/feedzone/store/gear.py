"""Store gear: the bikes and shoes of an athlete's profile, including unused, retired and deleted ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, update

from ..domain.gear import GearListing, GearRecord
from .engine.dialect import insert_into
from .removals import is_visible
from .schema.tables import strava_gear

_columns = strava_gear.c


def store(connection: Connection, profile_gear: GearListing, now: datetime) -> None:
    """Write changed gear, and mark gear as removed that the profile no longer lists.

    A kind whose list the profile did not include stays unchanged.
    """
    of_athlete = _columns.athlete_id == profile_gear.athlete_id
    query = select(strava_gear).where(of_athlete).with_for_update()
    stored = {row.id: row for row in connection.execute(query)}
    listed = {item.id: item for item in profile_gear.items}
    changed = [item for item in listed.values() if _differs(stored.get(item.id), item)]
    if changed:
        _upsert(connection, profile_gear.athlete_id, changed, now)
    removed = sorted(
        row.id
        for row in stored.values()
        if row.removed_at is None and row.kind in profile_gear.kinds and row.id not in listed
    )
    if removed:
        connection.execute(
            update(strava_gear)
            .where(of_athlete, _columns.id.in_(removed))
            .values(removed_at=now, updated_at=now)
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
    values = {
        column.name: statement.excluded[column.name]
        for column in _columns
        if column.name not in ("athlete_id", "id", "created_at")
    }
    connection.execute(
        statement.on_conflict_do_update(index_elements=["athlete_id", "id"], set_=values), rows
    )


def listing(connection: Connection, athlete_id: int) -> Sequence[Row[Any]]:
    """Return bikes, then shoes, including removed ones."""
    query = (
        select(strava_gear)
        .where(_columns.athlete_id == athlete_id, is_visible(_columns.athlete_id))
        .order_by(_columns.kind, _columns.id)
    )
    return connection.execute(query).all()
