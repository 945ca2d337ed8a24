"""The rate limit windows: one row a window, shared by all processes (guarantee 4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from ..domain.budget import DEFAULT_LIMITS, WINDOWS, Usage, WindowName, window_end, window_start, windows_for
from ..errors import QuotaSpent
from ..ports import Clock
from . import breaker
from .database import Database
from .dialect import insert_into
from .schema import api_budget

_ROWS = select(api_budget).order_by(api_budget.c.window)
_LOCKED = _ROWS.with_for_update()
_CHANGE = update(api_budget).where(api_budget.c.window == bindparam("name"))


class Window(NamedTuple):
    """One rate limit window as it stands now: `used` of `quota` calls since `starts_at`."""

    name: WindowName
    starts_at: datetime
    ends_at: datetime
    quota: int
    used: int
    latched: bool

    @property
    def full(self) -> bool:
        """Whether no call may be made before `ends_at`."""
        return self.latched or self.used >= self.quota


class BudgetTable:
    """The table `api_budget` (ports.BudgetRows)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def reserve(self, *, read: bool) -> bool:
        now = self._clock.now()

        def body(connection: Connection) -> QuotaSpent | breaker.Door:
            held = _current(connection, now, lock=True)
            full = [held[name] for name in windows_for(read=read) if held[name].full]
            if full:
                last = max(full, key=lambda window: window.ends_at)
                return QuotaSpent(last.name, last.ends_at)
            door = breaker.ask(connection, now)
            if door.paused is None:
                one_more = {
                    name: held[name]._replace(used=held[name].used + 1) for name in windows_for(read=read)
                }
                _write(connection, one_more, now)
            return door

        answer = await self._database.write(body)
        if isinstance(answer, QuotaSpent):
            raise answer
        if answer.paused is not None:
            raise answer.paused
        return answer.probe

    async def release(self, *, read: bool) -> None:
        now = self._clock.now()

        def body(connection: Connection) -> None:
            held = _current(connection, now, lock=True)
            names = windows_for(read=read)
            _write(connection, {n: held[n]._replace(used=max(0, held[n].used - 1)) for n in names}, now)

        await self._database.write(body)

    async def observe(self, usage: Usage) -> None:
        now = self._clock.now()
        # Alone with the application, Strava counts what we count: then there is nothing to write.
        if await self._database.read(lambda c: _corrections(_current(c, now, lock=False), usage)):
            await self._database.write(lambda c: _observe(c, usage, now))

    async def latch(self, usage: Usage | None) -> datetime:
        now = self._clock.now()

        def body(connection: Connection) -> datetime:
            _observe(connection, usage or {}, now)
            held = _current(connection, now, lock=True)
            full = [window for window in held.values() if window.used >= window.quota]
            # Without headers to say which window is spent, the shorter ones are: the day would have said so.
            spent = full or [window for window in held.values() if window.name.endswith("15min")]
            for window in spent:
                connection.execute(
                    update(api_budget)
                    .where(api_budget.c.window == window.name)
                    .values(latched_until=window.ends_at)
                )
            return max(window.ends_at for window in spent)

        return await self._database.write(body)

    async def windows(self) -> list[Window]:
        """The four windows as they stand now."""
        now = self._clock.now()
        held = await self._database.read(lambda c: _current(c, now, lock=False))
        return list(held.values())


def _current(connection: Connection, now: datetime, *, lock: bool) -> dict[WindowName, Window]:
    """The windows at `now`: what was counted in an earlier window is over."""
    rows = connection.execute(_LOCKED if lock else _ROWS).all()
    if lock and len(rows) < len(WINDOWS):
        _create(connection, now)
        rows = connection.execute(_LOCKED).all()
    stored = {row.window: row for row in rows}
    return {name: _window(name, stored.get(name), now) for name in WINDOWS}


def _window(name: WindowName, row: Any, now: datetime) -> Window:
    start, end = window_start(name, now), window_end(name, now)
    if row is None:
        return Window(name, start, end, DEFAULT_LIMITS[name], 0, latched=False)
    used = row.used if row.starts_at == start else 0
    return Window(
        name, start, end, row.quota, used, row.latched_until is not None and row.latched_until > now
    )


def _create(connection: Connection, now: datetime) -> None:
    rows = [
        {
            "window": name,
            "starts_at": window_start(name, now),
            "quota": DEFAULT_LIMITS[name],
            "used": 0,
            "updated_at": now,
        }
        for name in WINDOWS
    ]
    connection.execute(insert_into(connection, api_budget).on_conflict_do_nothing(), rows)


def _write(connection: Connection, windows: Mapping[WindowName, Window], now: datetime) -> None:
    rows = [
        {
            "name": window.name,
            "starts_at": window.starts_at,
            "quota": window.quota,
            "used": window.used,
            "updated_at": now,
        }
        for window in windows.values()
    ]
    connection.execute(_CHANGE, rows)


def _corrections(held: Mapping[WindowName, Window], usage: Usage) -> dict[WindowName, Window]:
    """The windows of which Strava knows more than we do."""
    found = {}
    for name, reading in usage.items():
        window = held[name]
        # The larger count is right: calls of ours may be under way, and others may use the application.
        used = window.used if reading.used is None else max(window.used, reading.used)
        corrected = window._replace(quota=reading.limit or window.quota, used=used)
        if corrected != window:
            found[name] = corrected
    return found


def _observe(connection: Connection, usage: Usage, now: datetime) -> None:
    if not usage:
        return
    if corrected := _corrections(_current(connection, now, lock=True), usage):
        _write(connection, corrected, now)
