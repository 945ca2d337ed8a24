"""Leave to call, within the rate limit that all processes share (guarantee 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, update

from ..clock import StravaClock
from ..domain import lanes
from ..domain.budget import WINDOWS, Reservation, Usage, Window, WindowName, window_start
from ..domain.demand import OTHERS, QUARTERS, Demand, learn
from ..domain.job import Lane
from ..domain.lanes import Room
from ..errors import QuotaSpent
from . import breaker, journal, windows
from .database import Database
from .schema import api_budget

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


class _Learned(NamedTuple):
    at: datetime
    day_quota: int
    demand: Demand


class BudgetTable:
    """The table `api_budget` (ports.BudgetRows). Its instants are by Strava's clock."""

    def __init__(self, database: Database, clock: StravaClock) -> None:
        self._database = database
        self._clock = clock
        self._learned: _Learned | None = None
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
            windows.locked(connection, now)
            for start in {window_start(name, now) for name in WINDOWS}:
                connection.execute(_ONE_LESS, {"since": start})
            if reservation.alone:
                connection.execute(_ALONE, {"until": None})

        await self._database.write(body, durable=False)

    async def answered(self, reservation: Reservation, usage: Usage) -> int:
        now = self._clock.now()

        def body(connection: Connection) -> int:
            theirs = windows.observe(connection, usage, now)
            if reservation.alone:
                connection.execute(_ALONE, {"until": None})
            return theirs

        # Alone with the application, Strava counts what we count: then there is nothing to write.
        if reservation.alone or await self._database.read(
            lambda c: bool(windows.corrections(windows.current(c, now, lock=False), usage))
        ):
            return await self._database.write(body, durable=False)
        return 0

    async def latch(self, reservation: Reservation, usage: Usage) -> datetime:
        now = self._clock.now()

        def body(connection: Connection) -> datetime:
            windows.observe(connection, usage, now)
            held = windows.current(connection, now, lock=True)
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
        held = await self._database.read(lambda c: windows.current(c, now, lock=False))
        self._forget_if_other(held["read_day"].quota)
        return [_by_our_clock(window, self._clock) for window in held.values()]

    async def demand(self) -> Demand:
        """What calls are to be expected, learned from the journal of the last days."""
        now, known = self._clock.now(), self._learned
        if known is None or not timedelta(0) <= now - known.at < LEARNED_FOR:
            known = self._learned = await self._database.read(lambda c: _learn(c, now))
        return known.demand

    def _forget_if_other(self, day_quota: int) -> None:
        """What is assumed beforehand is a share of the day's quota, which Strava's first answer tells."""
        if self._learned is not None and self._learned.day_quota != day_quota:
            self._learned = None

    def tight(
        self, connection: Connection, demand: Demand, of: Iterable[Lane], most: int
    ) -> dict[Lane, Tight]:
        """Those lanes that may make fewer than `most` calls now."""
        now = self._clock.now()
        held = windows.current(connection, now, lock=False)
        self._forget_if_other(held["read_day"].quota)
        every = list(held.values())
        left = {lane: lanes.calls_left(every, demand, lane, now) for lane in of}
        return {
            lane: Tight(calls, partial(self._room, every, demand, lane, now))
            for lane, calls in left.items()
            if calls < most
        }

    def _room(self, held: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Room:
        found = lanes.room(held, demand, lane, now)
        return Room(found.calls, found.window, self._clock.ours(found.until))


def _by_our_clock(window: Window, clock: StravaClock) -> Window:
    start, end = clock.ours(window.starts_at), clock.ours(window.ends_at)
    return Window(window.name, start, end, window.quota, window.used, window.latched, window.others)


def _learn(connection: Connection, now: datetime) -> _Learned:
    seen = journal.counted(connection, now)
    day = windows.current(connection, now, lock=False)["read_day"]
    return _Learned(now, day.quota, learn(seen.rows, seen.since, now, day.quota))


def _reserve(connection: Connection, asked: Sequence[Lane], demand: Demand, now: datetime) -> list[Answer]:
    """An answer for each lane that asks, the better ones first."""
    rows = windows.locked(connection, now)
    held = windows.of(rows, now)
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
            windows.write(connection, held.values(), now)
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
    every = list(held.values())
    if lanes.calls_left(every, demand, lane, now) <= 0:
        return lanes.room(every, demand, lane, now)
    if busy:
        return None
    door = breaker.ask(connection, now) if rows["read_15min"].paused_since is not None else breaker.OPEN
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
