"""Count the events of unknown athletes. Their events themselves are not stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, select

from .engine.dialect import among, insert_for
from .schema.tables import strava_athletes, unknown_owners

MOST = 1000
"""Athletes that are counted one by one. Events of further ones are only counted by the metrics: somebody who
invents athletes must not fill the database."""

FORGET_AFTER = timedelta(days=30)

_columns = unknown_owners.c
_COUNT = select(func.count()).select_from(unknown_owners)
_KNOWN = select(_columns.athlete_id).where(among(_columns.athlete_id, "owners"))


@cache
def _add(dialect: str) -> Any:
    statement = insert_for(dialect, unknown_owners)
    more = {"events": _columns.events + statement.excluded.events, "last_at": statement.excluded.last_at}
    return statement.on_conflict_do_update(index_elements=["athlete_id"], set_=more)


def add(connection: Connection, events: Mapping[int, int], now: datetime) -> None:
    """Count these events, by owner."""
    room = MOST - connection.execute(_COUNT).scalar_one()
    known = set(connection.execute(_KNOWN, {"owners": sorted(events)}).scalars())
    new = sorted(events.keys() - known)[: max(0, room)]
    # Sorted, because two processes that lock the same rows in different order would deadlock.
    rows = [
        {"athlete_id": owner, "events": events[owner], "first_at": now, "last_at": now}
        for owner in sorted({*known, *new})
    ]
    if rows:
        connection.execute(_add(connection.dialect.name), rows)


def listing(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Return athletes without a connection whose events arrive, most events first."""
    connected = exists().where(
        strava_athletes.c.id == _columns.athlete_id, strava_athletes.c.status != "deauthorized"
    )
    query = select(unknown_owners).where(~connected).order_by(_columns.events.desc(), _columns.athlete_id)
    return connection.execute(query.limit(limit)).all()


def is_old(now: datetime) -> ColumnElement[bool]:
    """Match athletes without an event for FORGET_AFTER."""
    return _columns.last_at < now - FORGET_AFTER
