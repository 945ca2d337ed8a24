"""The system clock (ports.Clock), an estimate of Strava's clock, and a cache by time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from .ports import Clock

T = TypeVar("T")

MOST_SKEW = timedelta(days=1)
"""A date further away says nothing about our clock: the response is cached or recorded."""

RESOLUTION = timedelta(seconds=1)
"""The resolution of the Date header."""


def is_recent(at: datetime, now: datetime, within: timedelta) -> bool:
    """Return whether `at` is at most `within` ago. False where the machine's clock was set back meanwhile."""
    return timedelta(0) <= now - at < within


class TimedCache(Generic[T]):
    """Keep one value, and load it again once it is older than `lifetime`."""

    def __init__(self, lifetime: timedelta) -> None:
        self._lifetime = lifetime
        self._entry: tuple[datetime, T] | None = None

    @property
    def latest(self) -> T | None:
        """The value that was loaded last, however old it is."""
        return None if self._entry is None else self._entry[1]

    def get(self, now: datetime, load: Callable[[], T]) -> T:
        if self._entry is None or not is_recent(self._entry[0], now, self._lifetime):
            self._entry = now, load()
        return self._entry[1]

    async def fetch(self, now: datetime, load: Callable[[], Awaitable[T]]) -> T:
        """Do the same as `get` with a value that has to be awaited."""
        if self._entry is None or not is_recent(self._entry[0], now, self._lifetime):
            self._entry = now, await load()
        return self._entry[1]

    def clear(self) -> None:
        self._entry = None


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class StravaClock:
    """Estimate Strava's clock from the Date headers of responses: its windows reset by that clock.

    A machine with the right clock keeps it: only a difference that no delay can explain counts.
    """

    def __init__(self, clock: Clock) -> None:
        self.plain = clock
        """The clock of this machine."""
        self.skew = timedelta(0)
        """The time by which Strava's clock is ahead of ours."""

    def now(self) -> datetime:
        return self.plain.now() + self.skew

    async def sleep(self, seconds: float) -> None:
        await self.plain.sleep(seconds)

    def ours(self, instant: datetime) -> datetime:
        """Return the time of our clock when Strava's shows `instant`."""
        return instant - self.skew

    def heard(self, date: str | None, sent_at: datetime, received_at: datetime) -> datetime:
        """Learn from the Date header of a response; `sent_at` and `received_at` are by our clock.

        Return when the response was written, by Strava's clock; if that is unknown, when it was requested.
        """
        try:
            written = parsedate_to_datetime(date or "").astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            return sent_at + self.skew
        # It was written at some instant between the two, and in any part of its second.
        least, most = written - received_at, written + RESOLUTION - sent_at
        nearest = min(max(self.skew, least), most)
        if least > most or abs(nearest) > MOST_SKEW:
            return sent_at + self.skew
        self.skew = timedelta(0) if least <= timedelta(0) <= most else nearest
        return written
