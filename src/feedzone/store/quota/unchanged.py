"""Calls counted in one statement, while the windows stand as this process has left them.

A reservation reads the windows under a lock, decides, and counts its call. Where nobody has changed the
windows since our last reservation, we know what the read would show. So we decide first, and the statement
counts the calls only if all windows are still the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from ...domain.quota.windows import WINDOWS, Window, WindowName
from ..schema.tables import api_budget
from .windows import PAUSED_SINCE

_columns = api_budget.c

COMPARED = ("starts_at", "quota", "used", "others", "history", "latched_until", "alone_until")
"""All columns on which a decision depends, but the time of the last change: a change shows in the others."""


class Stored(NamedTuple):
    """A row of `api_budget`, while the circuit breaker is closed."""

    window: WindowName
    starts_at: datetime
    quota: int
    used: int
    others: int
    history: int
    latched_until: datetime | None
    alone_until: datetime | None
    updated_at: datetime
    paused_since: None = None


def stored(
    rows: Mapping[str, Any], current: Mapping[WindowName, Window], until: datetime | None, now: datetime
) -> dict[str, Stored]:
    """Return the rows after the reservation that made `current` of them."""
    return {
        name: Stored(
            name,
            window.starts_at,
            window.quota,
            window.used,
            window.others,
            window.backfill_calls,
            rows[name].latched_until,
            until,
            now,
        )
        for name, window in current.items()
    }


def count(
    connection: Connection, known: Mapping[str, Stored], calls: int, for_backfills: int, now: datetime
) -> bool:
    """Count calls if all windows are as we know them and the breaker is closed; else change nothing."""
    values: dict[str, Any] = {"calls": calls, "for_backfills": for_backfills, "now": now}
    for name, row in known.items():
        values |= {f"{name}_{column}": getattr(row, column) for column in COMPARED}
    return connection.execute(_count(connection.dialect.name), values).rowcount == len(WINDOWS)


@cache
def _count(dialect: str) -> Any:
    """Return the statement. It locks the rows in the order in which all others lock them."""
    as_known = [
        and_(
            _columns.window == name,
            *(
                _columns[column].is_not_distinct_from(
                    bindparam(f"{name}_{column}", type_=_columns[column].type)
                )
                for column in COMPARED
            ),
        )
        for name in WINDOWS
    ]
    same = (
        select(_columns.window)
        .where(or_(*as_known), PAUSED_SINCE.is_(None))
        .order_by(_columns.window)
        .with_for_update(of=api_budget)
        .subquery("same")
    )
    unchanged = select(func.count()).select_from(same).scalar_subquery() == len(WINDOWS)
    statement = (
        update(api_budget)
        .where(unchanged)
        .values(
            used=_columns.used + bindparam("calls"),
            history=_columns.history + bindparam("for_backfills"),
            updated_at=bindparam("now"),
        )
    )
    if dialect != "postgresql":
        return statement
    # Without a transaction around it, the statement says itself that it does not wait for the disk.
    return statement.where(func.set_config("synchronous_commit", "off", True) == "off")
