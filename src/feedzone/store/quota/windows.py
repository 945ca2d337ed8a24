"""The rate limit windows as rows: read, reset, and corrected by Strava's answers (guarantee 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from ...domain.quota.windows import (
    DEFAULT_LIMITS,
    WINDOWS,
    Usage,
    Window,
    WindowName,
    window_end,
    window_start,
)
from ..engine.dialect import among, insert_into
from ..schema.tables import api_budget, application_state

_ROWS = select(api_budget).order_by(api_budget.c.window)
# Read together with whether the breaker is open, which saves a statement.
PAUSED_SINCE = select(
    func.coalesce(application_state.c.inactive_since, application_state.c.failing_since)
).scalar_subquery()
_LOCKED = _ROWS.add_columns(PAUSED_SINCE.label("paused_since")).with_for_update(of=api_budget)
_CHANGE = update(api_budget).where(api_budget.c.window == bindparam("name"))
_NOTE_RAISE = update(api_budget).where(among(api_budget.c.window, "names")).values(raised_at=bindparam("now"))
_RAISED = select(api_budget.c.raised_at).where(api_budget.c.raised_at.is_not(None)).distinct()
_END_RAISES = update(api_budget).where(among(api_budget.c.raised_at, "raises")).values(raised_at=None)

JUST_NOW = timedelta(seconds=5)
"""The time that may pass between reading the clock and the transaction that uses the reading."""


def locked(connection: Connection, now: datetime) -> dict[str, Any]:
    rows = connection.execute(_LOCKED).all()
    if len(rows) < len(WINDOWS):
        begin(connection, DEFAULT_LIMITS, now)
        rows = connection.execute(_LOCKED).all()
    return {row.window: row for row in rows}


def current(connection: Connection, now: datetime, *, lock: bool) -> dict[WindowName, Window]:
    """Return the windows at `now`, without the counts of windows that have ended."""
    if lock:
        return of(locked(connection, now), now)
    return of({row.window: row for row in connection.execute(_ROWS)}, now)


def of(rows: Mapping[str, Any], now: datetime) -> dict[WindowName, Window]:
    # Another process may have read the clock after us, and begun a window that is in our future.
    begun = max((row.starts_at for row in rows.values()), default=now)
    now = begun if now < begun <= now + JUST_NOW else now
    short = window_start("read_15min", now), window_end("read_15min", now)
    day = window_start("read_day", now), window_end("read_day", now)
    return {
        name: _window(name, rows.get(name), now, *(day if name.endswith("_day") else short))
        for name in WINDOWS
    }


def _window(name: WindowName, row: Any, now: datetime, start: datetime, end: datetime) -> Window:
    if row is None:
        return Window(name, start, end, DEFAULT_LIMITS[name], 0)
    used, others, backfills = (row.used, row.others, row.history) if row.starts_at == start else (0, 0, 0)
    latched = row.latched_until is not None and row.latched_until > now
    return Window(name, start, end, row.quota, used, latched, others, backfills)


def begin(connection: Connection, limits: Mapping[WindowName, int], now: datetime) -> None:
    """Insert the limits to assume until Strava's first answer; existing rows stay."""
    rows = [
        {
            "window": name,
            "starts_at": window_start(name, now),
            "quota": limits[name],
            "used": 0,
            "others": 0,
            "updated_at": now,
        }
        for name in WINDOWS
    ]
    connection.execute(insert_into(connection, api_budget).on_conflict_do_nothing(), rows)


def write(connection: Connection, windows: Iterable[Window], now: datetime) -> None:
    rows = [
        {
            "name": window.name,
            "starts_at": window.starts_at,
            "quota": window.quota,
            "used": window.used,
            "others": window.others,
            "history": window.backfill_calls,
            "updated_at": now,
        }
        for window in windows
    ]
    connection.execute(_CHANGE, rows)


def still_true(usage: Usage, at: datetime, now: datetime) -> Usage:
    """Return the readings whose windows have not ended since: a spent window must not close the next one."""
    return {
        name: reading for name, reading in usage.items() if window_start(name, at) == window_start(name, now)
    }


def corrections(stored: Mapping[WindowName, Window], usage: Usage) -> dict[WindowName, Window]:
    """Return the windows for which Strava's count or limit differs from ours."""
    corrected = {}
    for name, reading in usage.items():
        window = stored[name]
        # The larger count is right: calls of ours may be under way, and others may use the application.
        used = window.used if reading.used is None else max(window.used, reading.used)
        others = window.others + used - window.used
        quota = reading.limit or window.quota
        correction = msgspec.structs.replace(window, quota=quota, used=used, others=others)
        if correction != window:
            corrected[name] = correction
    return corrected


def observe(connection: Connection, usage: Usage, now: datetime) -> int:
    """Write the corrections from an answer; return how many calls of the day were not ours.

    If a limit was raised, UnfinishedSchedule lets the jobs run that waited for the old one.
    """
    stored = current(connection, now, lock=True)
    corrected = corrections(stored, usage)
    if not corrected:
        return 0
    write(connection, corrected.values(), now)
    if raised := [name for name, window in corrected.items() if window.quota > stored[name].quota]:
        connection.execute(_NOTE_RAISE, {"names": raised, "now": now})
    day = corrected.get("read_day")
    return day.others - stored["read_day"].others if day is not None else 0


def raises(connection: Connection) -> Sequence[datetime]:
    """Return when limits were raised for which jobs may still wait."""
    return connection.execute(_RAISED).scalars().all()


def end_raises(connection: Connection, ended: Sequence[datetime]) -> None:
    """Record that no job waits any more for the limits before these raises."""
    connection.execute(_END_RAISES, {"raises": ended})
