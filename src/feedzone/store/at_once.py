"""Leave to call in one statement, for PostgreSQL: each statement is a way to the server and back.

Differs because SQLite is in the process: there a statement more costs next to nothing.
"""

from __future__ import annotations

from datetime import datetime
from math import ceil

from sqlalchemy import Connection, Float, Integer, and_, bindparam, case, func, or_, select, update

from ..domain.job import Lane
from ..domain.quota import reserve
from ..domain.quota.demand import OTHERS, QUARTERS, Demand
from ..domain.quota.windows import WINDOWS, window_start
from .engine.types import Instant
from .quota.windows import PAUSED_SINCE
from .schema.tables import api_budget

_HELD = select(api_budget).order_by(api_budget.c.window).with_for_update().cte("held")
_held = _HELD.c
_IS_DAY = _held.window.like("%_day")
_NOT_FOR_HISTORIES = _held.used - _held.history
_KEPT_OF_DAY = func.greatest(
    bindparam("needed_of_day", type_=Float),
    func.least(
        bindparam("aside", type_=Float) - _NOT_FOR_HISTORIES, bindparam("share", type_=Float) * _held.quota
    ),
)
_MOST_KEPT = func.floor(_held.quota * reserve.MAX_RESERVE_SHARE)
_FOR_LATER = func.floor(
    bindparam("later", type_=Float) * (_held.quota - func.least(bindparam("aside", type_=Float), _MOST_KEPT))
)
_KEPT = func.least(
    func.ceil(case((_IS_DAY, _KEPT_OF_DAY), else_=bindparam("needed_of_quarter", type_=Float))), _MOST_KEPT
) + case((_IS_DAY, _FOR_LATER), else_=0)
_PLAIN = and_(
    _held.starts_at
    == case((_IS_DAY, bindparam("day", type_=Instant)), else_=bindparam("quarter", type_=Instant)),
    or_(_held.latched_until.is_(None), _held.latched_until <= bindparam("now", type_=Instant)),
    _held.alone_until.is_(None),
    _held.used > 0,
    _held.used + bindparam("calls") + _KEPT <= _held.quota,
    or_(_held.window != "read_day", _held.others < bindparam("others_below")),
)
_FITS = (
    select(
        and_(
            func.count() == len(WINDOWS), func.coalesce(func.bool_and(_PLAIN), False), PAUSED_SINCE.is_(None)
        ).label("ok")
    )
    .select_from(_HELD)
    .cte("fits")
)
_TAKE = (
    update(api_budget)
    .where(select(_FITS.c.ok).scalar_subquery())
    .values(
        used=api_budget.c.used + bindparam("calls"),
        history=api_budget.c.history + bindparam("for_histories", type_=Integer),
        updated_at=bindparam("now", type_=Instant),
    )
    .returning(api_budget.c.window)
)


def take(
    connection: Connection, lane: Lane, calls: int, demand: Demand, now: datetime, others_from: int
) -> bool:
    """Count so many calls of one lane, if there is room for them and nothing else to consider.

    False, counting nothing, when a window is spent or begins, somebody goes alone, or others call, too.
    """
    quarter, day = (reserve.reserve(demand, lane, now, day=day) for day in (False, True))
    values = {
        "calls": calls,
        "for_histories": calls if lane is Lane.BACKFILL else 0,
        "now": now,
        "quarter": window_start("read_15min", now),
        "day": window_start("read_day", now),
        "needed_of_quarter": quarter.needed,
        "needed_of_day": day.needed,
        "aside": day.aside,
        "share": day.share,
        "later": day.later,
        "others_below": ceil(others_from - demand.expected((OTHERS,), 0, QUARTERS)),
    }
    return len(connection.execute(_TAKE, values).all()) == len(WINDOWS)
