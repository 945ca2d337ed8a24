"""When will it be done? A walk over the windows of the rate limit to come (pain 47)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import repeat
from math import ceil
from typing import NamedTuple

import msgspec

from ..activity import PER_PAGE
from ..job import CALLS_AN_ACTIVITY, Lane
from .demand import NOTHING, OTHERS, QUARTER, QUARTERS, Demand, is_long
from .reserve import (
    RELEASES,
    Reserve,
    backfill_holdback_at_midnight,
    backfill_holdback_on,
    later_share,
    max_reserve,
    needed_of_quarter,
    of_day,
)
from .windows import window_end, window_start

HORIZON = timedelta(days=400)
"""What takes longer is not worth a date."""

USUAL_MS = 300.0
"""How long a call takes, as long as none was measured."""

HOURS, A_DAY_AND_A_HALF = 24, 36.0


class Rooms(msgspec.Struct, frozen=True):
    """What the rate limit leaves in the running quarter of an hour and day, and gives to each later one."""

    quarter_left: int
    quarter_quota: int
    day_left: int
    day_quota: int
    went_first: int = 0
    """What the day has cost so far without histories."""


class ForecastInput(msgspec.Struct, frozen=True):
    """What a forecast is made of."""

    now: datetime
    rooms: Rooms
    demand: Demand = NOTHING
    """What goes first: events, requests, comparisons, later looks, and calls that are not ours."""
    pace: float = 10 * 1000 / USUAL_MS
    """Calls a second that one worker makes when nothing holds it back."""


class _Quarter(msgspec.Struct, frozen=True):
    """A quarter of an hour of each day, as far as the forecast needs to know it."""

    first: float
    """Calls that go first."""
    kept: float
    """Calls that are kept in it for them, until shortly before its end."""
    held: Reserve
    """What is kept of the day at its end, but for what is set aside."""


class _Day(NamedTuple):
    quarters: Sequence[_Quarter]
    aside: float
    """What of it is not for histories, as far as is known when the walk begins, or at midnight."""


class _Step(NamedTuple):
    """What a history gets of a quarter of an hour."""

    at: datetime
    seconds: float
    made: float
    """Calls that were made before it."""
    free: float
    soon: float
    """Those of them that need not wait for the quarter's last seconds."""
    pace: float

    def done(self, need: float) -> datetime:
        wait = (need - self.made) / self.pace
        if need - self.made > self.soon:
            wait = max(wait, RELEASES[-1] * self.seconds)
        return self.at + timedelta(seconds=wait)


def done_at(outlook: ForecastInput, needs: Sequence[float]) -> list[datetime | None]:
    """For each number of calls, when they will have been made; None: not within HORIZON."""
    found: list[datetime | None] = [outlook.now if need <= 0 else None for need in needs]
    waiting = sorted((need, place) for place, need in enumerate(needs) if need > 0)
    if not waiting:
        return found
    walk = _Walk(outlook)
    while waiting and walk.at < outlook.now + HORIZON:
        walk.skip(waiting[0][0])
        step = walk.step()
        while waiting and waiting[0][0] - step.made <= step.free:
            need, place = waiting.pop(0)
            found[place] = step.done(need)
    return found


class _Walk:
    """Through the windows to come, with what goes first in them."""

    def __init__(self, outlook: ForecastInput) -> None:
        rooms = outlook.rooms
        self._outlook = outlook
        self._day, self._spent = _today(outlook), float(rooms.went_first)
        self._aside = self._day.aside
        self._quarter_left, self._day_left = float(rooms.quarter_left), float(rooms.day_left)
        self._owed = 0.0
        self._morning: tuple[float, float] | None = None
        self._a_day = 0.0
        self.at, self.made = outlook.now, 0.0

    def step(self) -> _Step:
        at, made, outlook = self.at, self.made, self._outlook
        end = window_end("read_15min", at)
        seconds = (end - at).total_seconds()
        quarter = self._day.quarters[at.hour * 4 + at.minute // 15]
        # What others could not ask for in a spent window they ask for in the next, and first.
        self._owed += quarter.first * seconds / QUARTER.total_seconds()
        left = min(self._quarter_left, self._day_left)
        room = min(left, outlook.pace * seconds)
        others = min(self._owed, room)
        self._spent += others
        self._aside = max(self._aside, self._spent + quarter.held.needed)
        held = msgspec.structs.replace(quarter.held, aside=self._aside)
        kept = held.calls(self._spent, outlook.rooms.day_quota)
        free = max(0.0, min(room - others, self._day_left - others - kept))
        day_ends = end == window_end("read_day", at)
        soon = max(0.0, min(free, (left if day_ends else self._quarter_left) - quarter.kept))
        self._owed -= others
        self._day_left -= others + free
        self._quarter_left = outlook.rooms.quarter_quota
        self.at, self.made = end, made + free
        if day_ends:
            self._begin_day()
        return _Step(at, seconds, made, free, soon, outlook.pace - others / seconds)

    def _begin_day(self) -> None:
        rooms = self._outlook.rooms
        self._day_left = rooms.day_quota
        demand = self._outlook.demand
        rationed = demand.rations(self.at) or is_long(self._outlook.now, self.at)
        self._day = _later(demand, rooms.quarter_quota, rooms.day_quota, rationed=rationed)
        self._aside, self._spent = self._day.aside, 0.0
        if self._morning is not None and abs(self._owed - self._morning[1]) < 1e-6:
            self._a_day = self.made - self._morning[0]
        self._morning = self.made, self._owed

    def skip(self, need: float) -> None:
        """The days that are like the one before, up to the one in which so many calls will have been made."""
        if self._a_day > 0 and self._morning is not None and self.made == self._morning[0]:
            days = max(0, min(ceil((need - self.made) / self._a_day) - 1, HORIZON.days))
            self.at += timedelta(days=days)
            self.made += days * self._a_day
            self._morning = self.made, self._owed


def _today(outlook: ForecastInput) -> _Day:
    demand, now, rooms = outlook.demand, outlook.now, outlook.rooms
    begin = (now - window_start("read_day", now)) / QUARTER
    learned = [demand.after(max(0.0, hour - now.hour)) for hour in range(HOURS)]
    quarters = _quarters(demand, learned, rooms, begin, rationed=demand.rations(now))
    return _Day(list(quarters), backfill_holdback_on(demand, now))


@lru_cache(8)
def _later(demand: Demand, quarter_quota: int, day_quota: int, *, rationed: bool) -> _Day:
    learned = demand.after(A_DAY_AND_A_HALF)
    rooms = Rooms(quarter_quota, quarter_quota, day_quota, day_quota)
    quarters = _quarters(demand, [learned] * HOURS, rooms, 0.0, rationed=rationed)
    return _Day(list(quarters), backfill_holdback_at_midnight(learned))


def _quarters(
    demand: Demand, learned: Sequence[Demand], rooms: Rooms, begin: float, *, rationed: bool
) -> Iterator[_Quarter]:
    """The quarters of a day, blank before `begin` (in quarters). What is kept in them follows from what will
    have been `learned` by each hour."""
    lanes = [*(lane.name.lower() for lane in Lane if lane < Lane.BACKFILL), OTHERS]
    yield from repeat(_Quarter(0.0, 0.0, Reserve(0.0)), int(begin))
    for n in range(int(begin), QUARTERS):
        then, end = learned[n // 4], n + 1.0
        yield _Quarter(
            demand.foreseen(lanes, n, end),
            min(needed_of_quarter(then, Lane.BACKFILL, n, end), max_reserve(rooms.quarter_quota)),
            of_day(then, Lane.BACKFILL, end, later=later_share(n) if rationed else 0.0),
        )


def sync_calls(activities: int, held: int = 0) -> int:
    """What a sync costs that finds so many new activities beside those we hold: the list's pages, up to the
    empty one, then each new activity."""
    pages = -(-(held + activities) // PER_PAGE) + 1
    return pages + activities * CALLS_AN_ACTIVITY
