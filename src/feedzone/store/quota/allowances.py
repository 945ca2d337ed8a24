"""What one athlete may spend: the calls to Strava that their own clicks cause, within an hour.

Without a limit one athlete could use up the rate limit of all by pressing buttons. Work that nobody
requested, such as events and reconciliations, is not counted here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, func, select

from ...domain.job import Lane
from ...errors import AllowanceSpent
from .. import athlete_activities
from ..engine.dialect import insert_for
from ..schema.tables import athlete_allowances, call_log

HOUR = timedelta(hours=1)
PAGE = 200
"""Activities on a page of a list."""

_columns = athlete_allowances.c
_calls = call_log.c
_ROW = select(athlete_allowances).where(_columns.athlete_id == bindparam("athlete"))
_SPENT_ON_BACKFILLS = select(func.coalesce(func.sum(_calls.calls), 0)).where(
    _calls.athlete_id == bindparam("athlete"),
    _calls.sent_at >= bindparam("since"),
    _calls.lane == Lane.BACKFILL.name.lower(),
)


@cache
def _charge(dialect: str) -> Any:
    statement = insert_for(dialect, athlete_allowances)
    new, is_over = statement.excluded, _columns.until <= bindparam("now")
    return statement.on_conflict_do_update(
        index_elements=["athlete_id"],
        set_={
            "calls": case((is_over, new.calls), else_=_columns.calls + new.calls),
            "until": case((is_over, new.until), else_=_columns.until),
        },
    ).returning(_columns.calls, _columns.until)


def charge(connection: Connection, athlete_id: int, calls: int, now: datetime) -> tuple[int, datetime]:
    """Count calls. Return the athlete's calls of this hour, and when the hour ends."""
    row = {"athlete_id": athlete_id, "calls": calls, "until": now + HOUR}
    spent = connection.execute(_charge(connection.dialect.name), row | {"now": now}).one()
    return spent.calls, spent.until


def spend(connection: Connection, athlete_id: int, calls: int, limit: int, now: datetime) -> None:
    """Count calls that an athlete wants to cause. Raises AllowanceSpent if they exceed the limit.

    The first request of an hour is always allowed, because a long history needs many calls.
    """
    spent, until = charge(connection, athlete_id, calls, now)
    if spent > limit and spent > calls:
        raise AllowanceSpent(spent - calls, limit, until)


def spent_until(connection: Connection, athlete_id: int, limit: int, now: datetime) -> datetime | None:
    """Return when the athlete may cause calls again; None: now."""
    row = connection.execute(_ROW, {"athlete": athlete_id}).first()
    return row.until if row is not None and row.until > now and row.calls >= limit else None


def charge_departure(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Count the calls of a backfill that a departure makes useless.

    Otherwise, an athlete could connect and leave in turns, and cause a new backfill each time.
    """
    calls = connection.execute(_SPENT_ON_BACKFILLS, {"athlete": athlete_id, "since": now - HOUR}).scalar_one()
    if calls:
        charge(connection, athlete_id, int(calls), now)


def cost_of_list(connection: Connection, athlete_id: int, since: datetime | None) -> int:
    """Return about how many calls it takes to list the athlete's activities: all, or those since then."""
    return athlete_activities.stored_count(connection, athlete_id, since=since) // PAGE + 2


def is_old(now: datetime) -> ColumnElement[bool]:
    """Match hours that are over. Their rows name athletes, even departed ones."""
    return _columns.until <= now
