"""When will it be done? A walk over the windows of the rate limit to come (pain 47)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from .activity import PER_PAGE
from .budget import window_end, window_start
from .demand import NOTHING, OTHERS, QUARTER, QUARTERS, Demand
from .job import Lane
from .lanes import MOST_KEPT, RELEASES, kept_in_quarter, kept_of_day

HORIZON = timedelta(days=400)
"""What takes longer is not worth a date."""

USUAL_MS = 300.0
"""How long a call takes, as long as none was measured."""

CALLS_AN_ACTIVITY = 2
"""The detail and the streams."""


HOURS, A_DAY_AND_A_HALF = 24, 36.0


class Rooms(msgspec.Struct, frozen=True):
    """What the rate limit leaves in the running quarter of an hour and day, and gives to each later one."""

    quarter_left: int
    quarter_quota: int
    day_left: int
    day_quota: int


class Outlook(msgspec.Struct, frozen=True):
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
    kept_later: float
    """Calls of the day that are kept for what goes first after it."""


def done_at(outlook: Outlook, needs: Sequence[float]) -> list[datetime | None]:
    """For each number of calls, when they will have been made; None: not within HORIZON."""
    found: list[datetime | None] = [outlook.now if need <= 0 else None for need in needs]
    waiting = sorted((need, place) for place, need in enumerate(needs) if need > 0)
    rooms, quarters = outlook.rooms, _today(outlook)
    later: list[_Quarter] = []
    at, made, owed = outlook.now, 0.0, 0.0
    quarter_left, day_left = float(rooms.quarter_left), float(rooms.day_left)
    while waiting and at < outlook.now + HORIZON:
        end = window_end("read_15min", at)
        seconds = (end - at).total_seconds()
        quarter = quarters[at.hour * 4 + at.minute // 15]
        # What others could not ask for in a spent window they ask for in the next, and first.
        owed += quarter.first * seconds / QUARTER.total_seconds()
        room = min(quarter_left, day_left, outlook.pace * seconds)
        others = min(owed, room)
        free = max(0.0, min(room - others, day_left - others - quarter.kept_later))
        day_ends = end == window_end("read_day", at)
        soon = max(0.0, min(free, (min(quarter_left, day_left) if day_ends else quarter_left) - quarter.kept))
        while waiting and waiting[0][0] - made <= free:
            need, place = waiting.pop(0)
            wait = (need - made) / (outlook.pace - others / seconds)
            if need - made > soon:
                wait = max(wait, RELEASES[-1] * seconds)
            found[place] = at + timedelta(seconds=wait)
        owed -= others
        made += free
        day_left -= others + free
        quarter_left = rooms.quarter_quota
        if day_ends:
            day_left = rooms.day_quota
            quarters = later = later or _day(outlook, [A_DAY_AND_A_HALF] * HOURS)
        at = end
    return found


def _today(outlook: Outlook) -> list[_Quarter]:
    now = outlook.now
    begin = (now - window_start("read_day", now)) / QUARTER
    return _day(
        outlook, [max(0.0, hour - now.hour) for hour in range(HOURS)], begin, outlook.demand.spent_on(now)
    )


def _day(outlook: Outlook, ahead: Sequence[float], begin: float = 0.0, spent: float = 0.0) -> list[_Quarter]:
    """The quarters of a day, whose hours are so many hours `ahead`: what is kept in them follows from what
    will have been learned by then, and from what was `spent` until `begin` (in quarters) and will be."""
    demand, rooms = outlook.demand, outlook.rooms
    lanes = [*(lane.name.lower() for lane in Lane if lane < Lane.BACKFILL), OTHERS]
    found = []
    for n in range(QUARTERS):
        then = demand.after(ahead[n // 4])
        first = demand.foreseen(lanes, n, n + 1)
        spent += first * min(1.0, max(0.0, n + 1 - begin))
        later = kept_of_day(then, Lane.BACKFILL, n + 1.0, spent)
        found.append(
            _Quarter(
                first,
                min(kept_in_quarter(then, Lane.BACKFILL, n, n + 1), rooms.quarter_quota * MOST_KEPT),
                min(later, rooms.day_quota * MOST_KEPT),
            )
        )
    return found


def first_sync_calls(activities: int) -> int:
    """What the first sync of an athlete costs: pages up to the empty one, then each activity."""
    pages = -(-activities // PER_PAGE) + 1
    return pages + activities * CALLS_AN_ACTIVITY
