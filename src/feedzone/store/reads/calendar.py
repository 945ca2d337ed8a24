"""An athlete's activities by day, by the wall clock where the activity happened.

Totals are read from one index, `ix_strava_activities_calendar`: rows of the table contain the JSON that
Strava sent, and a year of rows is much to read for a few totals.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from ..engine.types import WallTime
from ..removals import is_visible
from ..schema.tables import strava_activities

_columns = strava_activities.c
_local = _columns.start_date_local

UNFINISHED = ("pending", "syncing")
LINE: tuple[Any, ...] = (
    _columns.id,
    _columns.athlete_id,
    _columns.name,
    _columns.sport_type,
    _columns.distance,
    _columns.moving_time,
    _columns.total_elevation_gain,
    _local,
    _columns.sync_status,
)
"""The columns of a line of the list."""


class Group(NamedTuple):
    """The totals of one day, sport and state."""

    day: date
    sport_type: str | None
    sync_status: str
    activities: int
    distance: float
    moving_time: int
    climb: float


_OF_ATHLETE = and_(
    _columns.athlete_id == bindparam("athlete"),
    _columns.sync_status != "deleted",
    is_visible(_columns.athlete_id),
)
_BETWEEN = and_(_local >= bindparam("since"), _local < bindparam("until"))

# Differs because SQLite has no dates: its function gives text, PostgreSQL's a date.
_DAY = func.date(_local, type_=String)
_SUMS = (
    select(
        _DAY,
        _columns.sport_type,
        _columns.sync_status,
        func.count(),
        func.coalesce(func.sum(_columns.distance), 0.0),
        func.coalesce(func.sum(_columns.moving_time), 0),
        func.coalesce(func.sum(_columns.total_elevation_gain), 0.0),
    )
    .where(_OF_ATHLETE, _BETWEEN)
    .group_by(_DAY, _columns.sport_type, _columns.sync_status)
)
_FIRST_AND_LAST = [select(end(_local)).where(_OF_ATHLETE) for end in (func.min, func.max)]
_SPORTS = (
    select(_columns.sport_type)
    .where(_OF_ATHLETE, _columns.sport_type.is_not(None))
    .group_by(_columns.sport_type)
    .order_by(func.count().desc(), _columns.sport_type)
)


def sums(connection: Connection, athlete_id: int, first: date, last: date) -> list[Group]:
    """Return the totals of the days from `first` to `last`, by sport and state."""
    return [
        Group(day if isinstance(day, date) else date.fromisoformat(day), *totals)
        for day, *totals in connection.execute(_SUMS, {"athlete": athlete_id, **_days(first, last)})
    ]


def span(connection: Connection, athlete_id: int) -> tuple[datetime, datetime] | None:
    """Return the wall time of the first and the last activity; None if there is none."""
    first, last = (connection.execute(end, {"athlete": athlete_id}).scalar() for end in _FIRST_AND_LAST)
    return None if first is None or last is None else (first, last)


def sports(connection: Connection, athlete_id: int) -> list[str]:
    """Return all sport types, the most frequent first."""
    return [str(sport) for sport in connection.execute(_SPORTS, {"athlete": athlete_id}).scalars()]


def listing(
    connection: Connection,
    athlete_id: int,
    *,
    between: tuple[date, date] | None = None,
    search: str = "",
    sport_type: str | None = None,
    states: Sequence[str] = (),
    cursor: tuple[datetime, int] | None = None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return activities from after `cursor` on, latest day first."""
    conditions = [_OF_ATHLETE, _local.is_not(None), *_filters(search, sport_type, states)]
    parameters: dict[str, Any] = {"athlete": athlete_id}
    if between is not None:
        conditions.append(_BETWEEN)
        parameters |= _days(*between)
    if cursor is not None:
        at, last = cursor
        conditions.append(tuple_(_local, _columns.id) < tuple_(literal(at, WallTime), literal(last)))
    query = select(*LINE).where(*conditions).order_by(_local.desc(), _columns.id.desc()).limit(limit)
    return connection.execute(query, parameters).all()


def undated(connection: Connection, athlete_id: int, states: Sequence[str], limit: int) -> Sequence[Row[Any]]:
    """Return activities without a local start time: they have no place in the list, but must not be lost."""
    query = (
        select(*LINE)
        .where(_OF_ATHLETE, _local.is_(None), *_filters("", None, states))
        .order_by(_columns.id.desc())
        .limit(limit)
    )
    return connection.execute(query, {"athlete": athlete_id}).all()


def fetched(connection: Connection, athlete_id: int, limit: int) -> Sequence[Row[Any]]:
    """Return the activities that were fetched last, the latest first."""
    newest = (
        select(_columns.id)
        .where(_OF_ATHLETE, _columns.sync_status == "synced", _columns.last_fetched_at.is_not(None))
        .order_by(_columns.last_fetched_at.desc(), _columns.id.desc())
        .limit(limit)
    )
    ids = connection.execute(newest, {"athlete": athlete_id}).scalars().all()
    if not ids:
        return []
    rows: Sequence[Row[Any]] = connection.execute(select(*LINE).where(_columns.id.in_(ids))).all()
    return sorted(rows, key=lambda row: ids.index(row.id))


def _days(first: date, last: date) -> dict[str, datetime]:
    return {
        "since": datetime.combine(first, time()),
        "until": datetime.combine(last + timedelta(days=1), time()),
    }


def _filters(search: str, sport_type: str | None, states: Sequence[str]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search:
        # SQLite matches a and A, but not é and É.
        spellings = dict.fromkeys((search, search.lower(), search.upper(), search.capitalize()))
        conditions.append(or_(*(_columns.name.icontains(text, autoescape=True) for text in spellings)))
    if sport_type is not None:
        conditions.append(_columns.sport_type == sport_type)
    if states:
        conditions.append(_columns.sync_status.in_(states))
    return conditions
