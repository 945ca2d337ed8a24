"""Who may call now: what is left in the windows, less what is kept for the lanes that go first.

Live work is never late because of what can wait, and what can wait gets every call that live work turns out
not to need: what is kept shrinks with the time that is left in which it could be needed, for histories in the
last hours of a day, and in the last seconds of a window nothing is kept at all.
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
"""Somebody waits for these: room is kept for more of their calls than are expected."""

RELEASES = (0.0, 0.5, 0.75, 0.95)
"""The parts of a quarter of an hour after which what is kept is reckoned anew; at the last one (45 s before
the end) nothing is kept: who comes then waits less than a minute."""

QUARTER_CAUTION, DAY_CAUTION, WHOLE_DAY_CAUTION = 3.0, 2.0, 4.0
"""Standard deviations above what is expected of prompt work: in a quarter, in the rest of a day, and in a
whole day, as it is set aside at midnight."""

MIN_RESERVE = {Lane.LIVE: 2.0, Lane.INTERACTIVE: 4.0}
"""An upload: its detail and its streams; two activities that somebody asks for, or four first pages."""

LET_GO_BY, PER_QUARTER = 95.0, 0.05
"""What turns out not to be needed of a day is kept from histories until its last quarters: as long as it can
still be spent then, so much of the day's quota in each, but for the last one. It would come free all day
long, a call now and then, whenever somebody uploads less than expected: too little to be of use, and nobody
could tell when a history will be done. So that hangs on what is known at midnight, and on what costs more."""

RATION = 2
"""In quarters of an hour: how often histories get a part of their day where they are rationed. (Each time all
that waits is put off; and hourly, no end that is a few hours ahead could be told within 15 %.)"""

MAX_RESERVE_SHARE = 0.75
"""Of a window: whatever was learned, the rest is for everybody."""


class Allowance(msgspec.Struct, frozen=True):
    """What a lane may call now, the window that binds it, and when there will be more room."""

    calls: int
    window: WindowName
    until: datetime


def calls_left(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> int:
    """What this lane may call at `now`, by Strava's clock."""
    if any(window.full for window in windows):
        return 0
    held = {day: reserve(demand, lane, now, day=day) for day in {window.is_day for window in windows}}
    left = (w.quota - w.used - held[w.is_day].calls(w.used - w.history, w.quota) for w in windows)
    return max(0, min(left))


def min_calls_left(windows: Sequence[Window], demand: Demand, now: datetime) -> int:
    """What every lane may call, however much is kept for others: what is kept need not be worked out."""
    if demand.rations(now):
        return 0
    return min(0 if w.full else w.quota - w.used - max_reserve(w.quota) for w in windows)


def allowance(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Allowance:
    """The same, and what comes when those calls have been made."""
    calls = calls_left(windows, demand, lane, now)
    after = [window.after(calls, for_history=lane is Lane.BACKFILL) for window in windows]
    spent = [window for window in after if calls_left([window], demand, lane, now) <= 0]
    binding = max(spent, key=lambda window: window.ends_at)
    return Allowance(calls, binding.name, _opens_at(after, demand, lane, now))


class Reserve(msgspec.Struct, frozen=True):
    """What is kept of a window for those who go before a lane: as much as they may need. From histories, of a
    day, also what was set `aside` for them and is not spent, up to a `share` of the quota; and, where they
    are rationed, of their own part of the day what is for `later`."""

    needed: float
    aside: float = 0.0
    share: float = 0.0
    later: float = 0.0

    def calls(self, spent: float, quota: int) -> int:
        """`spent` is what the window has cost without histories."""
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
    """For those who go first, of a window."""
    return int(quota * MAX_RESERVE_SHARE)


def later_share(quarter: int) -> float:
    """The part of a day's ration that is for later than the half hour to which that quarter belongs."""
    return 1.0 - (quarter // RATION + 1) * RATION / QUARTERS


def _of_quarter(demand: Demand, lane: Lane, at: float, end: float) -> Reserve:
    return Reserve(needed_of_quarter(demand, lane, at, end))


def of_day(demand: Demand, lane: Lane, at: float, aside: float = 0.0, later: float = 0.0) -> Reserve:
    """What is kept at that time of a day, in quarters since midnight."""
    share = PER_QUARTER * max(0.0, LET_GO_BY - at)
    return Reserve(needed_of_day(demand, lane, at), aside, share, later)


# Every call asks the same until the next release.
_quarters, _days = lru_cache(256)(_of_quarter), lru_cache(256)(of_day)


def needed_of_quarter(demand: Demand, lane: Lane, at: float, end: float) -> float:
    """What those who go before `lane` may need up to the end of a quarter."""
    return _needed(demand, lane, at, end, QUARTER_CAUTION, day=False)


def needed_of_day(demand: Demand, lane: Lane, at: float) -> float:
    """What they may need from that time of a day on."""
    return _needed(demand, lane, at, float(QUARTERS), DAY_CAUTION, day=True)


def backfill_holdback_on(demand: Demand, now: datetime) -> float:
    """What of this day is not for histories, be it learned today or before midnight."""
    return backfill_holdback(demand) if demand.is_of(now) else backfill_holdback_at_midnight(demand)


@lru_cache(16)
def backfill_holdback(demand: Demand) -> float:
    """What of the day on which it was learned is not for histories: what was known at midnight, or the most,
    so far, of what had been spent and what might still be needed."""
    later = (
        spent + needed_of_day(demand, Lane.BACKFILL, demand.seen_from + n)
        for n, spent in enumerate(demand.passed)
    )
    return max([backfill_holdback_at_midnight(demand.at_midnight or demand, demand.seen_from), *later])


@lru_cache(16)
def backfill_holdback_at_midnight(demand: Demand, seen_from: float = 0.0) -> float:
    """The same of a day of which nothing has passed."""
    # What was only assumed beforehand is cautious enough.
    seen = 1.0 - PRIOR_HOURS / demand.hours
    caution = DAY_CAUTION + (WHOLE_DAY_CAUTION - DAY_CAUTION) * seen
    return _needed(demand, Lane.BACKFILL, seen_from, float(QUARTERS), caution, day=True)


def _needed(demand: Demand, lane: Lane, at: float, end: float, caution: float, *, day: bool) -> float:
    """What those who go before `lane` may need between two times; `caution` in standard deviations."""
    prompt = [other for other in PROMPT if other < lane]
    if at >= end or not prompt:
        return 0.0

    def cautiously(together: Sequence[Lane]) -> float:
        least = sum(MIN_RESERVE[other] for other in together)
        expected = demand.expected([other.name.lower() for other in together], at, end)
        return max(least, expected + caution * sqrt(demand.spread * expected))

    # In a quarter each for itself: who presses a button must not find that all is kept for uploads.
    calls = cautiously(prompt) if day else sum(cautiously([other]) for other in prompt)
    patient = [other.name.lower() for other in Lane if other not in PROMPT and other < lane]
    return calls + demand.expected([OTHERS, *(patient if day else ())], at, end)


def _released(passed: timedelta) -> float:
    """The part of a quarter after which what is kept was last reckoned anew."""
    # Instants are compared, not parts of a day: those are never exactly what they should be.
    part = max(part for part in RELEASES if part * QUARTER <= passed)
    return 1.0 if part == RELEASES[-1] else part


def _opens_at(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> datetime:
    """When this lane will have room, if nobody else calls until then; not earlier, though perhaps later."""
    start, day_end = window_start("read_15min", now), window_end("read_day", now)
    if (at := _in_quarter(windows, demand, lane, start, now)) is not None:
        return at
    days = [window for window in windows if window.is_day]
    if any(window.full for window in days):
        return day_end
    # The short windows begin anew: the day binds, and what is kept of it shrinks from quarter to quarter.
    later = [start + n * QUARTER for n in range(1, int((day_end - start) / QUARTER))]
    first = bisect_left(later, True, key=lambda at: calls_left(days, demand, lane, at) > 0)
    if first < len(later):
        return later[first]
    return _in_quarter(days, demand, lane, day_end - QUARTER, now) or day_end


def _in_quarter(
    windows: Sequence[Window], demand: Demand, lane: Lane, start: datetime, now: datetime
) -> datetime | None:
    """The time after `now` at which this quarter of an hour will have room; None: it will have none."""
    times = [start + part * QUARTER for part in RELEASES]
    return next((at for at in times if at > now and calls_left(windows, demand, lane, at) > 0), None)
