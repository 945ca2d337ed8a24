"""Who may call now: what is left in the windows, less what is kept for the lanes that go first.

Live work is never late because of what can wait, and what can wait gets every call that live work turns out
not to need: what is kept shrinks with the time that is left in which it could be needed, and in the last
seconds of a window nothing is kept at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil, sqrt

import msgspec

from .budget import Window, WindowName, window_end, window_start
from .demand import OTHERS, QUARTER, QUARTERS, Demand
from .job import Lane

PROMPT = (Lane.LIVE, Lane.INTERACTIVE)
"""Somebody waits for these: room is kept for more of their calls than are expected."""

RELEASES = (0.0, 0.5, 0.75, 0.95)
"""The parts of a quarter of an hour after which what is kept is reckoned anew; at the last one (45 s before
the end) nothing is kept: who comes then waits less than a minute."""

QUARTER_CAUTION, DAY_CAUTION = 3.0, 2.0
"""Standard deviations above what is expected of prompt work."""

LEAST_KEPT = 2.0
"""An activity: its detail and its streams."""

MOST_KEPT = 0.75
"""Of a window: whatever was learned, the rest is for everybody."""


class Room(msgspec.Struct, frozen=True):
    """What a lane may call now; where that is nothing, the window that binds, and when it will be more."""

    calls: int
    window: WindowName
    until: datetime


def rooms(windows: Sequence[Window], demand: Demand, now: datetime) -> dict[Lane, Room]:
    """What each lane may call at `now`, by Strava's clock."""
    return {lane: room(windows, demand, lane, now) for lane in Lane}


def room(windows: Sequence[Window], demand: Demand, lane: Lane, now: datetime) -> Room:
    held = {window.name: window for window in windows}
    tightest = min(
        windows, key=lambda window: (_left(window, demand, lane, now), -window.ends_at.timestamp())
    )
    calls = _left(tightest, demand, lane, now)
    if calls > 0:
        return Room(calls, tightest.name, tightest.ends_at)
    return Room(0, tightest.name, _opens_at(held, demand, lane, now))


def kept(demand: Demand, lane: Lane, window: Window, now: datetime) -> int:
    """How many calls of this window are kept at `now` for those who go before `lane`."""
    midnight = window_start("read_day", now)
    at = _released(now, midnight)
    end = float(QUARTERS) if window.is_day else float(int((now - midnight) / QUARTER) + 1)
    return min(ceil(reserve(demand, lane, at, end, day=window.is_day)), int(window.quota * MOST_KEPT))


def reserve(demand: Demand, lane: Lane, at: float, end: float, *, day: bool) -> float:
    """What those who go before `lane` may need between two times of one day, in quarters since midnight."""
    prompt = [other.name.lower() for other in PROMPT if other < lane]
    if at >= end or not prompt:
        return 0.0
    expected = demand.expected(prompt, at, end)
    caution = DAY_CAUTION if day else QUARTER_CAUTION
    calls = max(LEAST_KEPT, expected + caution * sqrt(demand.spread * expected))
    patient = [other.name.lower() for other in Lane if other not in PROMPT and other < lane]
    return calls + demand.expected([OTHERS, *(patient if day else ())], at, end)


def _released(now: datetime, midnight: datetime) -> float:
    """The last time at which what is kept was reckoned anew, in quarters since midnight."""
    quarters = (now - midnight) / QUARTER
    whole = int(quarters)
    part = max(part for part in RELEASES if part <= quarters - whole)
    return whole + (1.0 if part == RELEASES[-1] else part)


def _left(window: Window, demand: Demand, lane: Lane, now: datetime) -> int:
    if window.full:
        return 0
    return max(0, window.quota - window.used - kept(demand, lane, window, now))


def _opens_at(held: Mapping[WindowName, Window], demand: Demand, lane: Lane, now: datetime) -> datetime:
    """The first time at which this lane will have room, if nobody else calls until then."""
    day_end = window_end("read_day", now)
    start = window_start("read_15min", now)
    windows = list(held.values())
    while start < day_end:
        for part in RELEASES:
            at = start + part * QUARTER
            if at > now and all(_left(window, demand, lane, at) > 0 for window in windows):
                return at
        start += QUARTER
        windows = [window if window.is_day else window.anew(start) for window in windows]
        if all(window.full for window in windows if window.is_day):
            break
    return day_end
