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
"""The fractions of a quarter of an hour at which the reserve is calculated again and shrinks.

From the last one (45 s before the end) there is no reserve: a call that comes later waits less than a minute.
"""

QUARTER_CAUTION, DAY_CAUTION, WHOLE_DAY_CAUTION = 3.0, 2.0, 4.0
"""Standard deviations added to the expected calls of prompt lanes: in a quarter, in the rest of a day, and
in a whole day, for the holdback that is fixed at midnight."""

MIN_RESERVE = {Lane.LIVE: 2.0, Lane.INTERACTIVE: 4.0}
"""LIVE: one upload (detail and streams). INTERACTIVE: two requested activities, or four first pages."""

HOLDBACK_ENDS, HOLDBACK_PER_QUARTER = 95.0, 0.05
"""When backfills get the part of the day's holdback that live work turns out not to need.

They get it in the last quarters of the day. The unspent holdback is at most HOLDBACK_PER_QUARTER of the
day's quota for each quarter until HOLDBACK_ENDS (in quarters since midnight): the calls that these quarters
can still spend. Otherwise calls would become free one by one all day, when people upload less than expected.
A few calls are of little use, and nobody could forecast the end of a backfill. This way the end depends only
on the demand that is known at midnight, and on work that costs more than expected.
"""

RATION_QUARTERS = 2
"""Quarters of an hour between two parts of the day's ration, on days when backfills are rationed.

A shorter time would put off all waiting jobs more often: at each part. With a longer time, such as an hour,
no forecast could name an end a few hours ahead within 15 %.
"""

MAX_RESERVE_SHARE = 0.75
"""The largest reserve, as a fraction of a window's quota. The rest is for all lanes, whatever the demand."""


class Allowance(msgspec.Struct, frozen=True):
    """How many calls a lane may make now, which window limits it, and when it may make more."""

    calls: int
    window: WindowName
    """The window that limits the calls. If several do: the one that ends last."""
    until: datetime
    """When the lane may make more calls, if nobody else calls until then."""


def calls_left(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> int:
    """Return how many calls this lane may make at `now`, by Strava's clock."""
    if any(window.full for window in windows):
        return 0
    reserves = {day: reserve(demand, lane, now, day=day) for day in {window.is_day for window in windows}}
    return max(0, min(_left_beside(reserves[window.is_day], window) for window in windows))


def _left_beside(reserve: Reserve, window: Window) -> int:
    """Return the calls of the window that are neither used nor reserved; negative if too few are left."""
    spent = window.used - window.backfill_calls
    return window.quota - window.used - reserve.calls(spent, window.quota)


def min_calls_left(windows: Sequence[Window], demand: Demand, now: datetime) -> int:
    """Return a number of calls that every lane may make: those outside the largest possible reserve.

    It can be lower than `calls_left`, but it is quick to compute.
    """
    if demand.rations(now):
        return 0
    return min(0 if w.full else w.quota - w.used - max_reserve(w.quota) for w in windows)


def allowance(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Allowance:
    """Return `calls_left`, with the window that limits it and the time when there will be more."""
    calls = calls_left(windows, demand, lane, now)
    # Look at the windows as they are after these calls: the limiting windows then have no call left.
    after = [window.after(calls, for_backfill=lane is Lane.BACKFILL) for window in windows]
    spent = [window for window in after if calls_left([window], demand, lane, now) <= 0]
    limiting = max(spent, key=lambda window: window.ends_at)
    return Allowance(calls, limiting.name, _next_call_at(after, demand, lane, now))


class Reserve(msgspec.Struct, frozen=True):
    """The calls of a window that a lane must leave.

    Only the reserve of a day that backfills must leave uses the last three fields.
    """

    needed: float
    """Calls that higher lanes may still need until the window ends."""
    holdback: float = 0.0
    """Calls of the day held back from backfills: for higher lanes, spent or not."""
    unspent_share: float = 0.0
    """The largest part of the holdback to leave while it is unspent, as a fraction of the quota."""
    ration_to_come: float = 0.0
    """The fraction (0 to 1) of the backfills' own calls that belongs to later parts of the day."""

    def calls(self, spent: float, quota: int) -> int:
        """Return the calls to leave. `spent`: the calls of the window so far, without backfills."""
        largest = max_reserve(quota)
        unspent = min(self.holdback - spent, self.unspent_share * quota)
        for_higher_lanes = min(ceil(max(self.needed, unspent)), largest)
        for_later = int(self.ration_to_come * (quota - min(self.holdback, largest)))
        return for_higher_lanes + for_later


def reserve(demand: Demand, lane: Lane, now: datetime, *, day: bool) -> Reserve:
    """Return the reserve that the lane must leave at `now`: in the day windows, or in the short ones."""
    start = window_start("read_15min", now)
    quarter = (start - window_start("read_day", now)) // QUARTER
    begin = quarter + _last_release(now - start)
    if not day:
        return _cached_quarter_reserve(demand, lane, begin, quarter + 1.0)
    if lane is not Lane.BACKFILL:
        return _cached_day_reserve(demand, lane, begin)
    to_come = ration_to_come(quarter) if demand.rations(now) else 0.0
    return _cached_day_reserve(demand, lane, begin, backfill_holdback_on(demand, now), to_come)


def max_reserve(quota: int) -> int:
    """Return the largest reserve, in calls, of a window with this quota."""
    return int(quota * MAX_RESERVE_SHARE)


def ration_to_come(quarter: int) -> float:
    """Return the fraction of a day's ration that comes after the half hour of this quarter (0 to 95)."""
    return 1.0 - (quarter // RATION_QUARTERS + 1) * RATION_QUARTERS / QUARTERS


# The parameters `begin` and `end` below are times of the day in quarters of an hour since midnight, with
# fractions: 32.5 is 8:07:30.


def quarter_reserve(demand: Demand, lane: Lane, begin: float, end: float) -> Reserve:
    """Return the reserve of a quarter of an hour at `begin`. `end`: when the quarter ends."""
    return Reserve(needed_in_quarter(demand, lane, begin, end))


def day_reserve(
    demand: Demand, lane: Lane, begin: float, holdback: float = 0.0, to_come: float = 0.0
) -> Reserve:
    """Return the day's reserve at `begin`."""
    unspent_share = HOLDBACK_PER_QUARTER * max(0.0, HOLDBACK_ENDS - begin)
    return Reserve(needed_in_rest_of_day(demand, lane, begin), holdback, unspent_share, to_come)


# Every call asks for the same values until the next release.
_cached_quarter_reserve, _cached_day_reserve = lru_cache(256)(quarter_reserve), lru_cache(256)(day_reserve)


def needed_in_quarter(demand: Demand, lane: Lane, begin: float, end: float) -> float:
    """Return the calls that higher lanes may need from `begin` until the quarter's `end`."""
    return _needed(demand, lane, begin, end, QUARTER_CAUTION, day=False)


def needed_in_rest_of_day(demand: Demand, lane: Lane, begin: float) -> float:
    """Return the calls that higher lanes may need from `begin` until midnight."""
    return _needed(demand, lane, begin, float(QUARTERS), DAY_CAUTION, day=True)


def backfill_holdback_on(demand: Demand, now: datetime) -> float:
    """Return today's holdback: the calls of the day that backfills must leave."""
    return backfill_holdback(demand) if demand.is_of(now) else backfill_holdback_at_midnight(demand)


@lru_cache(16)
def backfill_holdback(demand: Demand) -> float:
    """Return the holdback of the day on which `demand` was learned.

    That is the holdback of midnight. It is more when the day costs more: then it is the largest sum, over
    the quarters so far, of the calls spent by then and the calls needed from then on.
    """
    totals = (
        spent + needed_in_rest_of_day(demand, Lane.BACKFILL, demand.first_seen_quarter + n)
        for n, spent in enumerate(demand.spent_by_quarter)
    )
    at_midnight = backfill_holdback_at_midnight(demand.at_midnight or demand, demand.first_seen_quarter)
    return max([at_midnight, *totals])


@lru_cache(16)
def backfill_holdback_at_midnight(demand: Demand, begin: float = 0.0) -> float:
    """Return the holdback of a day that has just begun, for the time from `begin` until midnight."""
    # The assumptions made before a day was observed are cautious enough, so only observations add caution.
    observed = 1.0 - PRIOR_HOURS / demand.hours
    caution = DAY_CAUTION + (WHOLE_DAY_CAUTION - DAY_CAUTION) * observed
    return _needed(demand, Lane.BACKFILL, begin, float(QUARTERS), caution, day=True)


def _needed(demand: Demand, lane: Lane, begin: float, end: float, caution: float, *, day: bool) -> float:
    """Return the calls that higher lanes may need between two times; `caution` in standard deviations."""
    prompt = [higher for higher in PROMPT if higher < lane]
    if begin >= end or not prompt:
        return 0.0

    def cautious_calls(lanes: Sequence[Lane]) -> float:
        minimum = sum(MIN_RESERVE[higher] for higher in lanes)
        expected = demand.expected([higher.name.lower() for higher in lanes], begin, end)
        return max(minimum, expected + caution * sqrt(demand.spread * expected))

    # In a quarter, each prompt lane has its own reserve: uploads must not block a click on a button.
    calls = cautious_calls(prompt) if day else sum(cautious_calls([higher]) for higher in prompt)
    # The other higher lanes can wait for the next quarter, but not for the next day.
    patient = [higher.name.lower() for higher in Lane if higher not in PROMPT and higher < lane]
    return calls + demand.expected([OTHERS, *(patient if day else ())], begin, end)


def _last_release(elapsed: timedelta) -> float:
    """Return the fraction of a quarter at which the reserve was last calculated. 1.0: nothing is reserved.

    `elapsed`: the time since the quarter began.
    """
    # Compare instants, not fractions of a day: floating-point fractions are not exact.
    release = max(fraction for fraction in RELEASES if fraction * QUARTER <= elapsed)
    return 1.0 if release == RELEASES[-1] else release


def _next_call_at(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> datetime:
    """Return the earliest time after `now` at which this lane may call, if nobody else calls until then."""
    start, day_end = window_start("read_15min", now), window_end("read_day", now)
    release = _next_release(windows, demand, lane, start, now)
    if release is not None:
        return release
    days = [window for window in windows if window.is_day]
    if any(window.full for window in days):
        return day_end
    # The short windows reset. The day limits the lane, and its reserve shrinks from quarter to quarter.
    starts = [start + n * QUARTER for n in range(1, int((day_end - start) / QUARTER))]
    index = bisect_left(starts, True, key=lambda instant: calls_left(days, demand, lane, instant) > 0)
    if index < len(starts):
        return starts[index]
    return _next_release(days, demand, lane, day_end - QUARTER, now) or day_end


def _next_release(
    windows: Sequence[Window], demand: Demand, lane: Lane, start: datetime, now: datetime
) -> datetime | None:
    """Return the next time at which a release lets the lane call, in the quarter that begins at `start`.

    None: it may not call in this quarter.
    """
    releases = [start + fraction * QUARTER for fraction in RELEASES]
    return next(
        (instant for instant in releases if instant > now and calls_left(windows, demand, lane, instant) > 0),
        None,
    )
