"""Permission to call, within the rate limit that all processes share (guarantee 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, bindparam, case, update

from ...clock import StravaClock, TimedCache
from ...domain.job import Lane
from ...domain.quota import reserve as lanes
from ...domain.quota.demand import Demand, learn
from ...domain.quota.reserve import Allowance
from ...domain.quota.windows import Reservation, Usage, Window, WindowName, window_start
from ...errors import QuotaSpent
from ..engine.database import Database
from ..jobs import cost
from ..schema.tables import api_budget
from . import breaker, call_log, unchanged, windows
from .reserving import ALONE_S, SET_ALONE, Answer, Granted, decide, reserve

ASK_AGAIN_S = 0.1

PATIENCE = timedelta(seconds=30)
"""A caller that has waited this long for the answers of others tries later: a long run costs an attempt."""

LEARNED_FOR = timedelta(minutes=30)
"""How long the learned demand is used: the call log of a week is not read for every call."""

_FEWER = case((api_budget.c.history > 0, api_budget.c.history - bindparam("for_backfills")), else_=0)
_ONE_LESS = (
    update(api_budget)
    .where(api_budget.c.starts_at == bindparam("since"), api_budget.c.used > 0)
    .values(used=api_budget.c.used - 1, history=_FEWER)
)
_LATCH = (
    update(api_budget)
    .where(api_budget.c.window == bindparam("name"))
    .values(latched_until=bindparam("until"))
)


log = structlog.get_logger("feedzone.budget")


class _Request(NamedTuple):
    """A caller that waits for its permission."""

    lane: Lane
    answered: asyncio.Future[Answer]
    since: datetime


class LaneLimit(NamedTuple):
    """How many calls a lane may make now."""

    calls: int
    allowance: Callable[[], Allowance]
    """Return when it may make more, by our own clock."""


class LaneLimits(NamedTuple):
    by_lane: dict[Lane, LaneLimit]
    """The lanes that may make few calls."""
    day_quota: int


class _Learned(NamedTuple):
    day_quota: int
    demand: Demand


class BudgetTable:
    """The table `api_budget` (ports.BudgetRows). Its instants are by Strava's clock."""

    def __init__(self, database: Database, clock: StravaClock) -> None:
        self._database = database
        self._clock = clock
        self._learned: TimedCache[_Learned] = TimedCache(LEARNED_FOR)
        self._requests: list[_Request] = []
        self._granting: asyncio.Task[None] | None = None
        self._counted: Mapping[WindowName, Window] = {}
        """The windows after the last reservation of this process. The counts have not fallen since."""
        self._known: Mapping[str, unchanged.Stored] = {}
        """Their rows then; empty if they are not known."""

    async def reserve(self, lane: Lane) -> Reservation:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._requests.append(_Request(lane, answered, self._clock.now()))
        if self._granting is None:
            self._granting = asyncio.create_task(self._grant(), name="reservations")
        answer = await answered
        if isinstance(answer, Allowance):
            raise QuotaSpent(answer.window, self._clock.to_machine_time(answer.until))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _grant(self) -> None:
        """Answer requests in groups, high lanes first: one group gathers while another one commits."""
        try:
            while self._requests:
                requests, self._requests = self._requests, []
                unanswered = (request for request in requests if not request.answered.done())
                group = sorted(unanswered, key=lambda request: request.lane)
                if waiting := await self._answer(group):
                    # A call that goes alone is under way.
                    self._requests = waiting + self._requests
                    await self._clock.sleep(ASK_AGAIN_S)
        finally:
            self._granting = None

    async def _answer(self, group: Sequence[_Request]) -> list[_Request]:
        """Answer a group of requests; return those that must wait."""
        now, requested = self._clock.now(), [request.lane for request in group]
        try:
            demand = await self.demand()
            answers = await self._reserve(requested, demand, now)
        except Exception as problem:
            for request in group:
                if not request.answered.done():
                    request.answered.set_exception(problem)
            return []
        waiting, unclaimed = [], []
        for request, answer in zip(group, answers, strict=True):
            if answer is None and now - request.since < PATIENCE:
                waiting.append(request)
            elif not request.answered.done():
                request.answered.set_result(
                    answer or Allowance(0, "read_15min", now + timedelta(seconds=ALONE_S))
                )
            elif isinstance(answer, Reservation):
                unclaimed.append(answer)  # the caller was cancelled
        for reservation in unclaimed:
            await self._give_back(reservation)
        return waiting

    async def _reserve(
        self, requested: Sequence[Lane], demand: Demand, now: datetime
    ) -> Sequence[Answer | None]:
        """Return an answer for each lane: at once if the windows are as we know them, else under a lock."""
        known, self._known = self._known, {}
        if known:
            granted = decide(known, requested, demand, now, lambda: breaker.ALLOWED)
            if granted.is_simple(known):
                step = partial(
                    unchanged.count, known=known, calls=granted.calls, for_backfills=granted.for_backfills
                )
                if await self._database.write(partial(step, now=now), durable=False, alone=True):
                    self._note(granted, known, now)
                    return granted.answers
        machine_now = self._clock.to_machine_time(now)
        granted, rows = await self._database.write(
            lambda c: reserve(c, requested, demand, now, machine_now), durable=False
        )
        self._note(granted, rows, now)
        return granted.answers

    def _note(self, granted: Granted, rows: Mapping[str, Any], now: datetime) -> None:
        self._counted = granted.windows
        if granted.calls and rows["read_15min"].paused_since is None:
            self._known = unchanged.stored(rows, granted.windows, granted.until, now)

    async def _give_back(self, reservation: Reservation) -> None:
        """Release a reservation for other callers' sake: without success, one call too many stays counted."""
        try:
            await self.release(reservation)
        except Exception as problem:
            log.warning("reservation_not_released", error=str(problem))

    async def release(self, reservation: Reservation) -> None:
        now = self._clock.now()

        def body(connection: Connection) -> None:
            windows.locked(connection, now)
            # Not the windows of now: the quarter may have turned since the call was counted.
            for start in reservation.counted_since:
                connection.execute(
                    _ONE_LESS, {"since": start, "for_backfills": int(reservation.for_backfill)}
                )
            if reservation.alone:
                connection.execute(SET_ALONE, {"until": None})

        self._counted = {}
        await self._database.write(body, durable=False)

    async def answered(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> int:
        now = self._clock.now()
        usage = windows.still_true(usage, at or now, now)

        def body(connection: Connection) -> int:
            other_calls = windows.observe(connection, usage, now)
            if reservation.alone:
                connection.execute(SET_ALONE, {"until": None})
            return other_calls

        # Where only we use the application, Strava counts as we do, and nothing needs to be read or written.
        if not reservation.alone and self._agrees(usage, now):
            return 0
        if reservation.alone or await self._database.read(
            lambda c: bool(windows.corrections(windows.current(c, now, lock=False), usage))
        ):
            return await self._database.write(body, durable=False)
        return 0

    def _agrees(self, usage: Usage, now: datetime) -> bool:
        """Return whether the usage corrects nothing: it shows no more calls than were counted then."""
        counted = self._counted
        of_now = all(name in counted and counted[name].starts_at == window_start(name, now) for name in usage)
        return of_now and not windows.corrections(counted, usage)

    async def latch(self, reservation: Reservation, usage: Usage, at: datetime | None = None) -> datetime:
        now, answered_at = self._clock.now(), at or self._clock.now()

        def body(connection: Connection) -> datetime:
            windows.observe(connection, windows.still_true(usage, answered_at, now), now)
            current = windows.current(connection, now, lock=True).values()
            full = [window for window in current if window.used >= window.quota]
            # Without headers, assume that the short windows are spent: a spent day reports itself.
            short = [window for window in current if not window.is_day and window.holds(answered_at)]
            spent = full or short
            for window in spent:
                connection.execute(_LATCH, {"name": window.name, "until": window.ends_at})
            if reservation.alone:
                connection.execute(SET_ALONE, {"until": None})
            # The default: the spent window has ended meanwhile.
            return max((window.ends_at for window in spent), default=now)

        return self._clock.to_machine_time(await self._database.write(body))

    async def windows(self) -> list[Window]:
        """Return the four windows as they are now, by our own clock."""
        now = self._clock.now()
        current = await self._database.read(lambda c: windows.current(c, now, lock=False))
        self.note_day_quota(current["read_day"].quota)
        return [_by_our_clock(window, self._clock) for window in current.values()]

    async def demand(self) -> Demand:
        """Return the expected calls, learned from the call log of the last days."""
        now, known = self._clock.now(), self._learned.latest
        if known is not None and not known.demand.is_of(now):
            self._learned.clear()
        load = partial(self._database.read, partial(_learn, now=now, known=known))
        return (await self._learned.fetch(now, load)).demand

    def note_day_quota(self, day_quota: int) -> None:
        """Forget the demand learned with another day's quota: it assumes shares of that quota."""
        known = self._learned.latest
        if known is not None and known.day_quota != day_quota:
            self._learned.clear()

    def lane_limits(
        self, connection: Connection, demand: Demand, of: Iterable[Lane], most: int
    ) -> LaneLimits:
        """Return the lanes that may make fewer than `most` calls now."""
        now = self._clock.now()
        current = windows.current(connection, now, lock=False)
        day_quota, every = current["read_day"].quota, list(current.values())
        if lanes.min_calls_left(every, demand, now) >= most:
            return LaneLimits({}, day_quota)
        left = {lane: lanes.calls_left(every, demand, lane, now) for lane in of}
        limits = {
            lane: LaneLimit(calls, partial(self._allowance, every, demand, lane, now))
            for lane, calls in left.items()
            if calls < most
        }
        return LaneLimits(limits, day_quota)

    def _allowance(self, every: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Allowance:
        allowance = lanes.allowance(every, demand, lane, now)
        return msgspec.structs.replace(allowance, until=self._clock.to_machine_time(allowance.until))


def _by_our_clock(window: Window, clock: StravaClock) -> Window:
    start, end = clock.to_machine_time(window.starts_at), clock.to_machine_time(window.ends_at)
    return msgspec.structs.replace(window, starts_at=start, ends_at=end)


def _learn(connection: Connection, now: datetime, known: _Learned | None) -> _Learned:
    """Learn the demand from the call log. `known` is the demand learned before."""
    seen = call_log.counted(connection, now)
    quota = windows.current(connection, now, lock=False)["read_day"].quota
    since = cost.oldest_backfill_since(connection)
    at_midnight = (
        known.demand.at_midnight if known and known.day_quota == quota and known.demand.is_of(now) else None
    )
    demand = learn(seen.rows, seen.since, now, quota, oldest_backfill_since=since, at_midnight=at_midnight)
    return _Learned(quota, demand)
