"""Forecast when a number of calls will be done, by a walk over the coming rate limit windows."""

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
from .demand import NOTHING, OTHERS, QUARTER, QUARTERS, Demand, waited_long
from .reserve import (
    RELEASES,
    Reserve,
    backfill_holdback_at_midnight,
    backfill_holdback_on,
    day_reserve,
    max_reserve,
    needed_in_quarter,
    ration_to_come,
)
from .windows import window_end, window_start

HORIZON = timedelta(days=400)
"""The longest forecast. Beyond it there is no date."""

USUAL_MS = 300.0
"""The duration of a call in milliseconds, before one was measured."""

HOURS_OF_DAY = 24

LATER_DAYS_HOURS = 36.0
"""The days after today count on the demand as it will be learned this many hours from now."""


class CallsLeft(msgspec.Struct, frozen=True):
    """The calls left in the current quarter of an hour and day, and the quota of each later one."""

    quarter_left: int
    quarter_quota: int
    day_left: int
    day_quota: int
    spent_before_backfills: int = 0
    """The calls of the day so far, without backfills."""


class ForecastInput(msgspec.Struct, frozen=True):
    """The input of a forecast."""

    now: datetime
    calls_left: CallsLeft
    demand: Demand = NOTHING
    """Calls that go before backfills: live work, requests, reconciliations, rechecks, other programs."""
    pace: float = 10 * 1000 / USUAL_MS
    """Calls a second that one worker makes when nothing holds it back."""


class _Quarter(msgspec.Struct, frozen=True):
    """What the forecast needs to know of one quarter of an hour of a day."""

    higher_calls: float
    """Calls that higher lanes are likely to make in it."""
    reserved: float
    """Calls of the quarter reserved for higher lanes until shortly before its end."""
    day_reserve: Reserve
    """The day's reserve at the end of the quarter, without the holdback."""


class _Day(NamedTuple):
    quarters: Sequence[_Quarter]
    holdback: float
    """The calls of the day held back from backfills, as known when the walk begins, or at midnight."""


class _Step(NamedTuple):
    """The calls that backfills get in one quarter of an hour, or in the rest of the current one."""

    begin: datetime
    seconds: float
    """The length of the step."""
    made_before: float
    """The calls of backfills in all steps before."""
    free: float
    """The calls that backfills get in this step."""
    free_at_once: float
    """The part of `free` that need not wait for the quarter's last seconds."""
    pace: float
    """The calls of backfills a second."""

    def done(self, need: float) -> datetime:
        """Return when `need` calls, counted from the start of the walk, are made in this step."""
        calls = need - self.made_before
        wait = calls / self.pace
        if calls > self.free_at_once:
            wait = max(wait, RELEASES[-1] * self.seconds)
        return self.begin + timedelta(seconds=wait)


def done_at(forecast: ForecastInput, needs: Sequence[float]) -> list[datetime | None]:
    """Return when each number of calls will have been made. None: not within HORIZON."""
    ends: list[datetime | None] = [forecast.now if need <= 0 else None for need in needs]
    waiting = sorted((need, index) for index, need in enumerate(needs) if need > 0)
    if not waiting:
        return ends
    walk = _Walk(forecast)
    while waiting and walk.time < forecast.now + HORIZON:
        walk.skip(waiting[0][0])
        step = walk.step()
        while waiting and waiting[0][0] - step.made_before <= step.free:
            need, index = waiting.pop(0)
            ends[index] = step.done(need)
    return ends


class _Walk:
    """A walk through the coming windows: in each, higher lanes call first, and backfills get the rest."""

    def __init__(self, forecast: ForecastInput) -> None:
        left = forecast.calls_left
        self.time = forecast.now
        self.made = 0.0
        """The calls of backfills until `time`."""
        self._input = forecast
        self._day = _today(forecast)
        self._holdback = self._day.holdback
        self._quarter_left, self._day_left = float(left.quarter_left), float(left.day_left)
        self._spent = float(left.spent_before_backfills)
        """The calls of higher lanes since midnight."""
        self._delayed = 0.0
        """Calls that higher lanes could not make yet."""
        self._made_at_midnight: float | None = None
        """The calls of backfills until the last midnight of the walk. None: no midnight yet."""
        self._delayed_at_midnight = 0.0
        self._made_per_day = 0.0
        """The calls of backfills on each day like the last one. 0: the next day may differ from it."""

    def step(self) -> _Step:
        """Walk to the end of the quarter."""
        begin, made_before, forecast = self.time, self.made, self._input
        end = window_end("read_15min", begin)
        seconds = (end - begin).total_seconds()
        quarter = self._day.quarters[begin.hour * 4 + begin.minute // 15]
        # Calls of higher lanes that a spent window delayed go first in the next window.
        self._delayed += quarter.higher_calls * seconds / QUARTER.total_seconds()
        left = min(self._quarter_left, self._day_left)
        possible = min(left, forecast.pace * seconds)
        higher = min(self._delayed, possible)
        self._delayed -= higher
        self._spent += higher
        # The holdback grows if the day costs more than was known at midnight.
        self._holdback = max(self._holdback, self._spent + quarter.day_reserve.needed)
        day_reserve = msgspec.structs.replace(quarter.day_reserve, holdback=self._holdback)
        reserved = day_reserve.calls(self._spent, forecast.calls_left.day_quota)
        free = max(0.0, min(possible - higher, self._day_left - higher - reserved))
        day_ends = end == window_end("read_day", begin)
        # In a day's last quarter, the calls left of the day limit the calls that are free at once.
        free_at_once = max(0.0, min(free, (left if day_ends else self._quarter_left) - quarter.reserved))
        self._day_left -= higher + free
        self._quarter_left = forecast.calls_left.quarter_quota
        self.time, self.made = end, made_before + free
        if day_ends:
            self._begin_day()
        return _Step(begin, seconds, made_before, free, free_at_once, forecast.pace - higher / seconds)

    def _begin_day(self) -> None:
        left, demand = self._input.calls_left, self._input.demand
        self._day_left = left.day_quota
        rationed = demand.rations(self.time) or waited_long(self._input.now, self.time)
        self._day = _later_day(demand, left.quarter_quota, rationed=rationed)
        self._holdback, self._spent = self._day.holdback, 0.0
        # A day that begins and ends with equal delays repeats itself.
        if self._made_at_midnight is not None and abs(self._delayed - self._delayed_at_midnight) < 1e-6:
            self._made_per_day = self.made - self._made_at_midnight
        self._made_at_midnight, self._delayed_at_midnight = self.made, self._delayed

    def skip(self, need: float) -> None:
        """Skip days that are like the day before, up to the day in which `need` calls are done."""
        if self._made_per_day > 0 and self.made == self._made_at_midnight:
            days = max(0, min(ceil((need - self.made) / self._made_per_day) - 1, HORIZON.days))
            self.time += timedelta(days=days)
            self.made += days * self._made_per_day
            self._made_at_midnight, self._delayed_at_midnight = self.made, self._delayed


def _today(forecast: ForecastInput) -> _Day:
    demand, now = forecast.demand, forecast.now
    begin = (now - window_start("read_day", now)) / QUARTER
    by_hour = [demand.after(max(0.0, hour - now.hour)) for hour in range(HOURS_OF_DAY)]
    quarter_quota = forecast.calls_left.quarter_quota
    quarters = _quarters(demand, by_hour, quarter_quota, begin, rationed=demand.rations(now))
    return _Day(list(quarters), backfill_holdback_on(demand, now))


@lru_cache(8)
def _later_day(demand: Demand, quarter_quota: int, *, rationed: bool) -> _Day:
    learned = demand.after(LATER_DAYS_HOURS)
    quarters = _quarters(demand, [learned] * HOURS_OF_DAY, quarter_quota, 0.0, rationed=rationed)
    return _Day(list(quarters), backfill_holdback_at_midnight(learned))


def _quarters(
    demand: Demand, by_hour: Sequence[Demand], quarter_quota: int, begin: float, *, rationed: bool
) -> Iterator[_Quarter]:
    """Yield the 96 quarters of a day, empty before `begin` (in quarters since midnight).

    The calls of higher lanes follow from `demand`. The reserves follow from the demand as it will be learned
    by each hour of the day: `by_hour`.
    """
    lanes = [*(lane.name.lower() for lane in Lane if lane < Lane.BACKFILL), OTHERS]
    yield from repeat(_Quarter(0.0, 0.0, Reserve(0.0)), int(begin))
    for n in range(int(begin), QUARTERS):
        learned, end = by_hour[n // 4], n + 1.0
        yield _Quarter(
            demand.likely_calls(lanes, n, end),
            min(needed_in_quarter(learned, Lane.BACKFILL, n, end), max_reserve(quarter_quota)),
            day_reserve(learned, Lane.BACKFILL, end, to_come=ration_to_come(n) if rationed else 0.0),
        )


def backfill_cost(activities: int, stored: int = 0) -> int:
    """Return the calls of a backfill that fetches `activities` new ones beside `stored` ones.

    First it lists all pages, up to an empty one. Then it fetches each new activity.
    """
    pages = -(-(stored + activities) // PER_PAGE) + 1
    return pages + activities * CALLS_AN_ACTIVITY
