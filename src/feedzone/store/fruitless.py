"""Count the fruitless calls of unproven events (domain/fruitless.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, literal_column, or_, select

from ..domain.fruitless import (
    ALL_LEAKS_IN,
    LEAKS_IN,
    SHARE_OF_ALL,
    Bucket,
    FruitlessCalls,
    leaked,
    size_of,
)
from .engine.dialect import among, insert_for
from .schema.tables import api_budget, fruitless_calls

EVERYONE = 0
"""The row that counts the calls of all athletes. No athlete has this id."""

FORGET_AFTER = timedelta(days=2)
"""Both buckets are empty by then."""

_columns = fruitless_calls.c
# The first column reads the quota beside the buckets: one statement for every unproven event.
_READ = select(
    select(api_budget.c.quota)
    .where(api_budget.c.window == literal_column("'read_day'"))
    .scalar_subquery()
    .label("quota"),
    fruitless_calls,
).select_from(
    select(literal_column("1").label("one"))
    .subquery()
    .outerjoin(fruitless_calls, or_(among(_columns.athlete_id, "athletes"), _columns.athlete_id == EVERYONE))
)


def load(connection: Connection, athlete_id: int) -> FruitlessCalls:
    """Return the buckets of the athlete and of all athletes."""
    return load_all(connection, [athlete_id])[athlete_id]


def load_all(connection: Connection, athletes: Sequence[int]) -> dict[int, FruitlessCalls]:
    """Return the buckets of each of these athletes, and of all athletes."""
    if not athletes:
        return {}
    rows = connection.execute(_READ, {"athletes": athletes}).all()
    by_athlete = {row.athlete_id: row for row in rows}
    quota, everyone = rows[0].quota or 0, _bucket(by_athlete.get(EVERYONE))
    found = {}
    for athlete_id in athletes:
        own = by_athlete.get(athlete_id)
        listed_at = None if own is None else own.listed_at
        found[athlete_id] = FruitlessCalls(quota, _bucket(own), everyone, listed_at)
    return found


def _bucket(row: Any) -> Bucket:
    return Bucket() if row is None else Bucket(row.level, row.updated_at)


def count(connection: Connection, athlete_id: int, calls: int, now: datetime) -> None:
    """Add fruitless calls to both buckets. A negative number takes calls out: they were not fruitless."""
    known = load(connection, athlete_id)
    size, all_size = size_of(known.day_quota), SHARE_OF_ALL * known.day_quota
    # In ascending order of ids, as every transaction: otherwise two would deadlock.
    _write(connection, EVERYONE, now, level=leaked(known.everyone, calls, now, all_size, ALL_LEAKS_IN))
    _write(connection, athlete_id, now, level=leaked(known.athlete, calls, now, size, LEAKS_IN))


def note_list(connection: Connection, athlete_id: int, now: datetime, *, fruitless: bool) -> None:
    """Record that the athlete's list was read because of events, and whether it showed nothing new."""
    count(connection, athlete_id, int(fruitless), now)
    _write(connection, athlete_id, now, listed_at=now)


def _write(connection: Connection, athlete_id: int, now: datetime, **values: Any) -> None:
    changed = values if "level" not in values else values | {"updated_at": now}
    row = {"athlete_id": athlete_id, "level": 0.0, "updated_at": now} | values
    connection.execute(_upsert(connection.dialect.name, tuple(changed)), row)


@cache
def _upsert(dialect: str, changed: tuple[str, ...]) -> Any:
    statement = insert_for(dialect, fruitless_calls)
    new = {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=["athlete_id"], set_=new)


def is_old(now: datetime) -> ColumnElement[bool]:
    """Match buckets that have been empty for long."""
    return _columns.updated_at < now - FORGET_AFTER
