"""The rate limit windows: one row a window, shared by all processes (guarantee 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from ..clock import StravaClock
from ..domain import lanes
from ..domain.budget import (
    DEFAULT_LIMITS,
    WINDOWS,
    Reservation,
    Usage,
    Window,
    WindowName,
    window_end,
    window_start,
)
from ..domain.demand import OTHERS, QUARTERS, Demand, learn
from ..domain.job import Lane
from ..domain.lanes import Room
from ..errors import QuotaSpent
from . import breaker, journal, waiting
from .database import Database
from .dialect import insert_into
from .schema import api_budget, application_state

ALONE_S = 5.0
"""How long others wait for the answer to a call that goes alone."""

ASK_AGAIN_S = 0.1

SILENCE = timedelta(seconds=20)
"""After so long without a call of ours, others may have spent what we take for left."""

NARROW, WIDEST = 0.1, 50
"""The last part of a window, and at most so many calls, go one at a time when others spend it, too."""

OTHERS_FROM = 5
"""So many calls a day that are not ours: somebody else uses the application, too. Fewer may be ours after
all, counted in a window that was just ending."""

LEARNED_FOR = timedelta(minutes=30)
"""The journal of a week is not read for every call."""

_ROWS = select(api_budget).order_by(api_budget.c.window)
# With whether the application is switched off: a look of its own would be one more way to the database.
_SINCE = select(application_state.c.inactive_since).scalar_subquery()
_LOCKED = _ROWS.add_columns(_SINCE.label("inactive_since")).with_for_update(of=api_budget)
_CHANGE = update(api_budget).where(api_budget.c.window == bindparam("name"))
_MORE = update(api_budget).values(
    used=api_budget.c.used + bindparam("calls"), updated_at=bindparam("now"), alone_until=bindparam("until")
)
_ONE_LESS = (
    update(api_budget)
    .where(api_budget.c.starts_at == bindparam("since"), api_budget.c.used > 0)
    .values(used=api_budget.c.used - 1)
)
_ALONE = update(api_budget).values(alone_until=bindparam("until"))


Answer = Reservation | Room | Exception | None
"""Leave to call, or when there will be room, or why not; None: another call goes alone."""


class Tight(NamedTuple):
    """A lane that may make few calls now, or none."""

    calls: int
    room: Callable[[], Room]
    """When there will be more: instants by our own clock."""


class BudgetTable:
    """The table `api_budget` (ports.BudgetRows). Its instants are by Strava's clock."""

    def __init__(self, database: Database, clock: StravaClock) -> None:
        self._database = database
        self._clock = clock
        self._learned: tuple[datetime, Demand] | None = None
        self._waiting = asyncio.Lock()
        self._asking: list[tuple[Lane, asyncio.Future[Answer]]] = []
        self._granting: asyncio.Task[None] | None = None

    async def reserve(self, lane: Lane) -> Reservation:
        demand = await self.demand()
        answer = await self._ask(lane, demand)
        if answer is None:
            # One of this process asks again and again; the others stand behind it.
            async with self._waiting:
                while (answer := await self._ask(lane, demand)) is None:
                    await self._clock.sleep(ASK_AGAIN_S)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _ask(self, lane: Lane, demand: Demand) -> Reservation | Exception | None:
        """Leave to call, or why not; None: a call that goes alone is under way.

        While one transaction commits, those who ask meanwhile gather for the next.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asking.append((lane, answered))
        if self._granting is None:
            self._granting = asyncio.create_task(self._grant(demand), name="reservations")
        answer = await answered
        if isinstance(answer, Room):
            return QuotaSpent(answer.window, self._clock.ours(answer.until))
        return answer

    async def _grant(self, demand: Demand) -> None:
        try:
            while self._asking:
                group, self._asking = sorted(self._asking, key=lambda one: one[0]), []
                await self._answer(group, demand)
        finally:
            self._granting = None

    async def _answer(self, group: list[tuple[Lane, asyncio.Future[Answer]]], demand: Demand) -> None:
        now, asked = self._clock.now(), [lane for lane, _ in group]
        try:
            answers = await self._database.write(lambda c: _reserve(c, asked, demand, now), durable=False)
        except Exception as problem:
            for _, answered in group:
                if not answered.done():
                    answered.set_exception(problem)
            return
        for (_, answered), answer in zip(group, answers, strict=True):
            if not answered.done():
                answered.set_result(answer)
            elif isinstance(answer, Reservation):
                await self.release(answer)  # nobody waits for it any longer

    async def release(self, reservation: Reservation) -> None:
        now = self._clock.now()

        def body(connection: Connection) -> None:
            _locked(connection, now)
            for start in {window_start(name, now) for name in WINDOWS}:
                connection.execute(_ONE_LESS, {"since": start})
            if reservation.alone:
                connection.execute(_ALONE, {"until": None})

        await self._database.write(body, durable=False)

    async def answered(self, reservation: Reservation, usage: Usage) -> int:
        now = self._clock.now()

        def body(connection: Connection) -> int:
            theirs = _observe(connection, usage, now)
            if reservation.alone:
                connection.execute(_ALONE, {"until": None})
            return theirs

        # Alone with the application, Strava counts what we count: then there is nothing to write.
        if reservation.alone or await self._database.read(
            lambda c: bool(_corrections(_current(c, now, lock=False), usage))
        ):
            return await self._database.write(body, durable=False)
        return 0

    async def latch(self, reservation: Reservation, usage: Usage) -> datetime:
        now = self._clock.now()

        def body(connection: Connection) -> datetime:
            _observe(connection, usage, now)
            held = _current(connection, now, lock=True)
            full = [window for window in held.values() if window.used >= window.quota]
            # Without headers to say which window is spent, the shorter ones are: the day would have said so.
            spent = full or [window for window in held.values() if not window.is_day]
            for window in spent:
                connection.execute(
                    update(api_budget)
                    .where(api_budget.c.window == window.name)
                    .values(latched_until=window.ends_at)
                )
            if reservation.alone:
                connection.execute(_ALONE, {"until": None})
            return max(window.ends_at for window in spent)

        return self._clock.ours(await self._database.write(body))

    async def windows(self) -> list[Window]:
        """The four windows as they stand now, by our own clock."""
        now = self._clock.now()
        held = await self._database.read(lambda c: _current(c, now, lock=False))
        return [_by_our_clock(window, self._clock) for window in held.values()]

    async def demand(self) -> Demand:
        """What calls are to be expected, learned from the journal of the last days."""
        now = self._clock.now()
        if self._learned is None or not timedelta(0) <= now - self._learned[0] < LEARNED_FOR:
            self._learned = now, await self._database.read(lambda c: _learn(c, now))
        return self._learned[1]

    def tight(
        self, connection: Connection, demand: Demand, of: Iterable[Lane], most: int
    ) -> dict[Lane, Tight]:
        """Those lanes that may make fewer than `most` calls now."""
        now = self._clock.now()
        windows = list(_current(connection, now, lock=False).values())
        left = {lane: lanes.calls_left(windows, demand, lane, now) for lane in of}
        return {
            lane: Tight(calls, partial(self._room, windows, demand, lane, now))
            for lane, calls in left.items()
            if calls < most
        }

    def _room(self, windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Room:
        found = lanes.room(windows, demand, lane, now)
        return Room(found.calls, found.window, self._clock.ours(found.until))


def _by_our_clock(window: Window, clock: StravaClock) -> Window:
    start, end = clock.ours(window.starts_at), clock.ours(window.ends_at)
    return Window(window.name, start, end, window.quota, window.used, window.latched, window.others)


def _learn(connection: Connection, now: datetime) -> Demand:
    seen = journal.counted(connection, now)
    day = _current(connection, now, lock=False)["read_day"]
    return learn(seen.rows, seen.since, now, day.quota)


def _reserve(connection: Connection, asked: Sequence[Lane], demand: Demand, now: datetime) -> list[Answer]:
    """An answer for each lane that asks, the better ones first."""
    rows = _locked(connection, now)
    held = _windows(rows, now)
    shared = held["read_day"].others + demand.expected((OTHERS,), 0, QUARTERS) >= OTHERS_FROM
    until = rows["read_15min"].alone_until
    busy = until is not None and now < until <= now + timedelta(seconds=ALONE_S)
    answers: list[Answer] = []
    for lane in asked:
        leave = _leave(connection, rows, held, lane, demand, now, busy=busy, shared=shared)
        answers.append(leave)
        if isinstance(leave, Reservation):
            held = {name: msgspec.structs.replace(w, used=w.used + 1) for name, w in held.items()}
            busy = busy or leave.alone
    if given := [answer for answer in answers if isinstance(answer, Reservation)]:
        alone = {"until": now + timedelta(seconds=ALONE_S) if any(leave.alone for leave in given) else until}
        if any(rows[name].starts_at != window.starts_at for name, window in held.items()):
            _write(connection, held.values(), now)
            connection.execute(_ALONE, alone)
        else:
            connection.execute(_MORE, {"calls": len(given), "now": now, **alone})
    return answers


def _leave(
    connection: Connection,
    rows: Mapping[str, Any],
    held: Mapping[WindowName, Window],
    lane: Lane,
    demand: Demand,
    now: datetime,
    *,
    busy: bool,
    shared: bool,
) -> Answer:
    windows = list(held.values())
    if lanes.calls_left(windows, demand, lane, now) <= 0:
        return lanes.room(windows, demand, lane, now)
    if busy:
        return None
    door = breaker.ask(connection, now) if rows["read_15min"].inactive_since is not None else breaker.OPEN
    if door.paused is not None:
        return door.paused
    return Reservation(door.probe, _goes_alone(rows, held, now, shared=shared))


def _goes_alone(
    rows: Mapping[str, Any], held: Mapping[WindowName, Window], now: datetime, *, shared: bool
) -> bool:
    """Whether this call should tell us where Strava's count stands before others follow.

    The first of a window: it may not have begun at Strava, or have a new limit. Where others spend the
    limit, too: after a silence, and where little is left.
    """
    quarter = rows["read_15min"]
    if quarter.alone_until is not None:
        return True  # the call that went alone was never answered
    if quarter.starts_at != held["read_15min"].starts_at or held["read_15min"].used == 0:
        return True
    if not shared:
        return False
    narrow = any(w.quota - w.used <= min(WIDEST, NARROW * w.quota) for w in held.values())
    return narrow or now - quarter.updated_at >= SILENCE


def _locked(connection: Connection, now: datetime) -> dict[str, Any]:
    rows = connection.execute(_LOCKED).all()
    if len(rows) < len(WINDOWS):
        begin(connection, DEFAULT_LIMITS, now)
        rows = connection.execute(_LOCKED).all()
    return {row.window: row for row in rows}


def _current(connection: Connection, now: datetime, *, lock: bool) -> dict[WindowName, Window]:
    """The windows at `now`: what was counted in an earlier window is over."""
    if lock:
        return _windows(_locked(connection, now), now)
    return _windows({row.window: row for row in connection.execute(_ROWS)}, now)


def _windows(rows: Mapping[str, Any], now: datetime) -> dict[WindowName, Window]:
    return {name: _window(name, rows.get(name), now) for name in WINDOWS}


def _window(name: WindowName, row: Any, now: datetime) -> Window:
    start, end = window_start(name, now), window_end(name, now)
    if row is None:
        return Window(name, start, end, DEFAULT_LIMITS[name], 0)
    used, others = (row.used, row.others) if row.starts_at == start else (0, 0)
    latched = row.latched_until is not None and row.latched_until > now
    return Window(name, start, end, row.quota, used, latched, others)


def begin(connection: Connection, limits: Mapping[WindowName, int], now: datetime) -> None:
    """What is assumed until an answer tells the limits; what is known already stays."""
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


def _write(connection: Connection, windows: Sequence[Window] | Any, now: datetime) -> None:
    rows = [
        {
            "name": window.name,
            "starts_at": window.starts_at,
            "quota": window.quota,
            "used": window.used,
            "others": window.others,
            "updated_at": now,
        }
        for window in windows
    ]
    connection.execute(_CHANGE, rows)


def _corrections(held: Mapping[WindowName, Window], usage: Usage) -> dict[WindowName, Window]:
    """The windows of which Strava knows more than we do."""
    found = {}
    for name, reading in usage.items():
        window = held[name]
        # The larger count is right: calls of ours may be under way, and others may use the application.
        used = window.used if reading.used is None else max(window.used, reading.used)
        others = window.others + used - window.used
        corrected = Window(
            name,
            window.starts_at,
            window.ends_at,
            reading.limit or window.quota,
            used,
            window.latched,
            others,
        )
        if corrected != window:
            found[name] = corrected
    return found


def _observe(connection: Connection, usage: Usage, now: datetime) -> int:
    """Write what Strava knows more than we do; returns how many calls of the day were not ours."""
    held = _current(connection, now, lock=True)
    corrected = _corrections(held, usage)
    if not corrected:
        return 0
    _write(connection, corrected.values(), now)
    if any(window.quota > held[name].quota for name, window in corrected.items()):
        waiting.hurry(connection, now)
    day = corrected.get("read_day")
    return day.others - held["read_day"].others if day is not None else 0
