"""The real clock (ports.Clock), and what Strava's shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from .ports import Clock

T = TypeVar("T")

MOST_SKEW = timedelta(days=1)
"""A date that is further away says nothing about our clock: an answer from a cache, or a recorded one."""

RESOLUTION = timedelta(seconds=1)
"""Of the Date header."""


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
    """What Strava's clock shows, as far as answers' Date headers tell: its windows turn by that one.

    A machine whose clock is right keeps it: only a difference that no delay can explain is believed.
    """

    def __init__(self, clock: Clock) -> None:
        self.plain = clock
        """Our own."""
        self.skew = timedelta(0)
        """How far Strava's clock is ahead of ours."""

    def now(self) -> datetime:
        return self.plain.now() + self.skew

    async def sleep(self, seconds: float) -> None:
        await self.plain.sleep(seconds)

    def ours(self, instant: datetime) -> datetime:
        """What our own clock shows when Strava's shows `instant`."""
        return instant - self.skew

    def heard(self, date: str | None, sent_at: datetime, received_at: datetime) -> datetime:
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
