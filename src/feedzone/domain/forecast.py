"""When will it be done? A walk over the windows of the rate limit to come (pain 47)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from .budget import window_end

HOURS = 24
HORIZON = timedelta(days=400)
"""What takes longer is not worth a date."""

USUAL_MS = 300.0
"""How long a call takes, as long as none was measured."""

LISTED_AT_ONCE = 200
CALLS_AN_ACTIVITY = 2
"""The detail and the streams."""


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
    demand: tuple[float, ...] = (0.0,) * HOURS
    """Calls an hour that go first, by hour of the day (UTC): events, requests, comparisons, later looks."""
    pace: float = 10 * 1000 / USUAL_MS
    """Calls a second that one worker makes when nothing holds it back."""


def done_at(outlook: Outlook, needs: Sequence[float]) -> list[datetime | None]:
    """For each number of calls, when they will have been made; None: not within HORIZON."""
    found: list[datetime | None] = [outlook.now if need <= 0 else None for need in needs]
    waiting = sorted((need, place) for place, need in enumerate(needs) if need > 0)
    rooms = outlook.rooms
    at, made, owed = outlook.now, 0.0, 0.0
    quarter_left, day_left = float(rooms.quarter_left), float(rooms.day_left)
    while waiting and at < outlook.now + HORIZON:
        end = window_end("read_15min", at)
        seconds = (end - at).total_seconds()
        # What others could not ask for in a spent window they ask for in the next, and first.
        owed += outlook.demand[at.hour] * seconds / 3600
        room = min(quarter_left, day_left, outlook.pace * seconds)
        others = min(owed, room)
        free = room - others
        while waiting and waiting[0][0] - made <= free:
            need, place = waiting.pop(0)
            found[place] = at + timedelta(seconds=(need - made) / (outlook.pace - others / seconds))
        owed -= others
        made += free
        day_left -= room
        quarter_left = rooms.quarter_quota
        if end == window_end("read_day", at):
            day_left = rooms.day_quota
        at = end
    return found


def hourly_demand(calls: Mapping[int, int], since: datetime, now: datetime) -> tuple[float, ...]:
    """Calls an hour by hour of the day, learned from the `calls` in each that were made since then.

    An hour of the day that has not been seen whole is taken for an average one.
    """
    seen = [0.0] * HOURS
    at = since
    while at < now:
        end = min(now, at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        seen[at.hour] += (end - at).total_seconds() / 3600
        at = end
    mean = sum(calls.values()) / max(1.0, sum(seen))
    return tuple(calls.get(hour, 0) / seen[hour] if seen[hour] >= 1 else mean for hour in range(HOURS))


def first_sync_calls(activities: int) -> int:
    """What the first sync of an athlete costs: pages up to the empty one, then each activity."""
    pages = -(-activities // LISTED_AT_ONCE) + 1
    return pages + activities * CALLS_AN_ACTIVITY
