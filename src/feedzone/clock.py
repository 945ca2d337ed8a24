"""The real clock (ports.Clock), and what Strava's shows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from .ports import Clock

MOST_SKEW = timedelta(days=1)
"""A date that is further away says nothing about our clock: an answer from a cache, or a recorded one."""

RESOLUTION = timedelta(seconds=1)
"""Of the Date header."""


def is_recent(at: datetime, now: datetime, within: timedelta) -> bool:
    """Whether that was within so long a time; not where the machine's clock has been set back meanwhile."""
    return timedelta(0) <= now - at < within


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class StravaClock:
    """What Strava's clock shows, as far as answers' Date headers tell: its windows turn by that one.

    A machine whose clock is right keeps it: only a difference that no delay can explain is believed.
    """

    def __init__(self, clock: Clock) -> None:
        self.machine = clock
        """Our own."""
        self.skew = timedelta(0)
        """How far Strava's clock is ahead of ours."""

    def now(self) -> datetime:
        return self.machine.now() + self.skew

    async def sleep(self, seconds: float) -> None:
        await self.machine.sleep(seconds)

    def to_machine_time(self, instant: datetime) -> datetime:
        """What our own clock shows when Strava's shows `instant`."""
        return instant - self.skew

    def observe(self, date: str | None, sent_at: datetime, received_at: datetime) -> datetime:
        """An answer to a call that was sent and received then, by our clock, bears this Date header.

        Returns when it was written, by Strava's clock; where that is not known, when it was asked for.
        """
        try:
            said = parsedate_to_datetime(date or "").astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            return sent_at + self.skew
        # It was written at some instant between the two, and in any part of its second.
        least, most = said - received_at, said + RESOLUTION - sent_at
        nearest = min(max(self.skew, least), most)
        if least > most or abs(nearest) > MOST_SKEW:
            return sent_at + self.skew
        self.skew = timedelta(0) if least <= timedelta(0) <= most else nearest
        return said
