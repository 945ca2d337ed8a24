"""How many calls a lane may make now: the calls left in the windows, minus a reserve for higher lanes.

Low-priority work never delays live work, and it gets every call that live work does not need. So the reserve
shrinks with the time left in which it could be needed. The reserve that holds back backfills shrinks in the
last hours of a day. In the last seconds of a window there is no reserve.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from math import ceil, sqrt

import msgspec

from ..job import Lane
from .demand import OTHERS, PRIOR_HOURS, QUARTER, QUARTERS, Demand
from .windows import Window, WindowName, window_end, window_start

PROMPT = (Lane.LIVE, Lane.INTERACTIVE)
"""People wait for these lanes, so the reserve covers more of their calls than are expected."""

RELEASES = (0.0, 0.5, 0.75, 0.95)
"""The fractions of a quarter of an hour at which the reserve is calculated again. From the last one (45 s
before the end) there is no reserve: a call that comes later waits less than a minute."""

QUARTER_CAUTION, DAY_CAUTION, WHOLE_DAY_CAUTION = 3.0, 2.0, 4.0
"""Standard deviations added to the expected calls of prompt lanes: in a quarter, in the rest of a day, and
in a whole day, for the holdback that is fixed at midnight."""

MIN_RESERVE = {Lane.LIVE: 2.0, Lane.INTERACTIVE: 4.0}
"""LIVE: one upload (detail and streams). INTERACTIVE: two requested activities, or four first pages."""

LET_GO_BY, PER_QUARTER = 95.0, 0.05
"""Calls that live work turns out not to need go to backfills in the last quarters of the day only: until
quarter LET_GO_BY, as many as the remaining quarters can still spend at PER_QUARTER of the day's quota each.

Otherwise they would become free one by one all day, whenever people upload less than expected. That is too
little to be of use, and the end of a backfill could not be forecast. This way the end depends on what is
known at midnight, and on work that costs more than expected."""

RATION = 2
"""Quarters of an hour between two parts of the day's ration, where backfills are rationed.

Shorter: all waiting jobs are put off at each part. Longer: with an hour, an end a few hours ahead cannot be
forecast within 15 %."""

MAX_RESERVE_SHARE = 0.75
"""The largest reserve, as a share of a window. Whatever was learned, the rest is for all lanes."""


class Allowance(msgspec.Struct, frozen=True):
    """How many calls a lane may make now, which window limits it, and when it may make more."""

    calls: int
    window: WindowName
    until: datetime


def calls_left(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> int:
    """Return how many calls this lane may make at `now`, by Strava's clock."""
    if any(window.full for window in windows):
        return 0
    held = {day: reserve(demand, lane, now, day=day) for day in {window.is_day for window in windows}}
    left = (w.quota - w.used - held[w.is_day].calls(w.used - w.history, w.quota) for w in windows)
    return max(0, min(left))


def min_calls_left(windows: Sequence[Window], demand: Demand, now: datetime) -> int:
    """Return how many calls every lane may make even with the largest reserve, which is quick to know."""
    if demand.rations(now):
        return 0
    return min(0 if w.full else w.quota - w.used - max_reserve(w.quota) for w in windows)


def allowance(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Allowance:
    """Return `calls_left`, with the window that limits it and the time when there will be more."""
    calls = calls_left(windows, demand, lane, now)
    after = [window.after(calls, for_history=lane is Lane.BACKFILL) for window in windows]
    spent = [window for window in after if calls_left([window], demand, lane, now) <= 0]
    binding = max(spent, key=lambda window: window.ends_at)
    return Allowance(calls, binding.name, _opens_at(after, demand, lane, now))


class Reserve(msgspec.Struct, frozen=True):
    """The calls of a window that a lane must leave.

    `needed`: calls that higher lanes may need. The other fields apply to backfills and day windows only.
    `aside`: the day's holdback for higher lanes; its unspent part is left, up to `share` of the quota.
    `later`: where backfills are rationed, the share of their own calls that belongs to the rest of the day.
    """

    needed: float
    aside: float = 0.0
    share: float = 0.0
    later: float = 0.0

    def calls(self, spent: float, quota: int) -> int:
        """Return the calls to leave. `spent`: the calls of the window so far, without backfills."""
        most = max_reserve(quota)
        for_others = max(self.needed, min(self.aside - spent, self.share * quota))
        return min(ceil(for_others), most) + int(self.later * (quota - min(self.aside, most)))


def reserve(demand: Demand, lane: Lane, now: datetime, *, day: bool) -> Reserve:
    start = window_start("read_15min", now)
    quarter = (start - window_start("read_day", now)) // QUARTER
    at = quarter + _released(now - start)
    if not day:
        return _quarters(demand, lane, at, quarter + 1.0)
    if lane is not Lane.BACKFILL:
        return _days(demand, lane, at)
    later = later_share(quarter) if demand.rations(now) else 0.0
    return _days(demand, lane, at, backfill_holdback_on(demand, now), later)


def max_reserve(quota: int) -> int:
    """Return the largest reserve of a window with this quota."""
    return int(quota * MAX_RESERVE_SHARE)


def later_share(quarter: int) -> float:
    """Return the share of a day's ration that belongs to the time after this quarter's half hour."""
    return 1.0 - (quarter // RATION + 1) * RATION / QUARTERS


def _of_quarter(demand: Demand, lane: Lane, at: float, end: float) -> Reserve:
    return Reserve(needed_of_quarter(demand, lane, at, end))


def of_day(demand: Demand, lane: Lane, at: float, aside: float = 0.0, later: float = 0.0) -> Reserve:
    """Return the day's reserve at a time in quarters since midnight."""
    share = PER_QUARTER * max(0.0, LET_GO_BY - at)
    return Reserve(needed_of_day(demand, lane, at), aside, share, later)


# Every call asks for the same values until the next release.
_quarters, _days = lru_cache(256)(_of_quarter), lru_cache(256)(of_day)


def needed_of_quarter(demand: Demand, lane: Lane, at: float, end: float) -> float:
    """Return the calls that higher lanes may need until the end of a quarter."""
    return _needed(demand, lane, at, end, QUARTER_CAUTION, day=False)


def needed_of_day(demand: Demand, lane: Lane, at: float) -> float:
    """Return the calls that higher lanes may need in the rest of the day."""
    return _needed(demand, lane, at, float(QUARTERS), DAY_CAUTION, day=True)


def backfill_holdback_on(demand: Demand, now: datetime) -> float:
    """Return today's holdback: the calls of the day that backfills must leave."""
    return backfill_holdback(demand) if demand.is_of(now) else backfill_holdback_at_midnight(demand)


@lru_cache(16)
def backfill_holdback(demand: Demand) -> float:
    """Return the holdback of the day on which `demand` was learned.

    That is the holdback of midnight, or the largest sum so far of calls spent and calls still needed.
    """
    later = (
        spent + needed_of_day(demand, Lane.BACKFILL, demand.seen_from + n)
        for n, spent in enumerate(demand.passed)
    )
    return max([backfill_holdback_at_midnight(demand.at_midnight or demand, demand.seen_from), *later])


@lru_cache(16)
def backfill_holdback_at_midnight(demand: Demand, seen_from: float = 0.0) -> float:
    """Return the holdback of a day that has just begun."""
    # The assumptions made before a day was observed are cautious enough.
    seen = 1.0 - PRIOR_HOURS / demand.hours
    caution = DAY_CAUTION + (WHOLE_DAY_CAUTION - DAY_CAUTION) * seen
    return _needed(demand, Lane.BACKFILL, seen_from, float(QUARTERS), caution, day=True)


def _needed(demand: Demand, lane: Lane, at: float, end: float, caution: float, *, day: bool) -> float:
    """Return the calls that higher lanes may need between two times; `caution` in standard deviations."""
    prompt = [other for other in PROMPT if other < lane]
    if at >= end or not prompt:
        return 0.0

    def cautiously(together: Sequence[Lane]) -> float:
        least = sum(MIN_RESERVE[other] for other in together)
        expected = demand.expected([other.name.lower() for other in together], at, end)
        return max(least, expected + caution * sqrt(demand.spread * expected))

    # In a quarter, each prompt lane has its own reserve: uploads must not block a click on a button.
    calls = cautiously(prompt) if day else sum(cautiously([other]) for other in prompt)
    patient = [other.name.lower() for other in Lane if other not in PROMPT and other < lane]
    return calls + demand.expected([OTHERS, *(patient if day else ())], at, end)


def _released(passed: timedelta) -> float:
    """Return the fraction of a quarter at which the reserve was last calculated."""
    # Compare instants, not fractions of a day: floating-point fractions are not exact.
    part = max(part for part in RELEASES if part * QUARTER <= passed)
    return 1.0 if part == RELEASES[-1] else part


def _opens_at(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> datetime:
    """Return the earliest time at which this lane may call, if nobody else calls until then."""
    start, day_end = window_start("read_15min", now), window_end("read_day", now)
    if (at := _in_quarter(windows, demand, lane, start, now)) is not None:
        return at
    days = [window for window in windows if window.is_day]
    if any(window.full for window in days):
        return day_end
    # The short windows reset. The day limits the lane, and its reserve shrinks from quarter to quarter.
    later = [start + n * QUARTER for n in range(1, int((day_end - start) / QUARTER))]
    first = bisect_left(later, True, key=lambda at: calls_left(days, demand, lane, at) > 0)
    if first < len(later):
        return later[first]
    return _in_quarter(days, demand, lane, day_end - QUARTER, now) or day_end


def _in_quarter(
    windows: Sequence[Window], demand: Demand, lane: Lane, start: datetime, now: datetime
) -> datetime | None:
    """Return the time after `now` at which the lane may call in this quarter. None: not in this quarter."""
    times = [start + part * QUARTER for part in RELEASES]
    return next((at for at in times if at > now and calls_left(windows, demand, lane, at) > 0), None)
