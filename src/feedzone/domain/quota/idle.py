"""How many calls the day will not need: they are worth more as comparisons with Strava than unused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..job import Lane
from .demand import Demand
from .reserve import calls_left
from .windows import Window, window_end

KEPT_SHARE = 0.25
"""The part of a day's quota that is not spent at its beginning: a backfill may still be requested.

It shrinks evenly until midnight, when the rest would be lost.
"""

LEAST_HOURS = 0.25


def idle_calls_an_hour(windows: Sequence[Window], demand: Demand, now: datetime) -> float:
    """Return how many calls an hour nobody will need, at an even pace until midnight (UTC).

    Those are the calls that a backfill could make now, without KEPT_SHARE. None while a window is full or
    reserved for higher lanes.
    """
    if calls_left(windows, demand, Lane.BACKFILL, now) <= 0:
        return 0.0
    days = [window for window in windows if window.is_day]
    hours = (window_end("read_day", now) - now).total_seconds() / 3600
    kept = KEPT_SHARE * min(window.quota for window in days) * hours / 24
    return max(0.0, calls_left(days, demand, Lane.BACKFILL, now) - kept) / max(hours, LEAST_HOURS)
