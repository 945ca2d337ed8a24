"""The machine's clock (ports.Clock), and an estimate of Strava's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from .ports import Clock

T = TypeVar("T")

MOST_SKEW = timedelta(days=1)
"""A date that differs by more says nothing about our clock: the response is cached or recorded."""

RESOLUTION = timedelta(seconds=1)
"""The resolution of the Date header."""


def is_recent(at: datetime, now: datetime, within: timedelta) -> bool:
    """Return whether `at` is at most `within` ago.

    An instant in the future is not recent: then the machine's clock was set back in between.
    """
    return timedelta(0) <= now - at < within


class TimedCache(Generic[T]):
    """Keep one value, and load it again once it is older than `lifetime`.

    Only a value that was `costly` to load is kept.
    """

    def __init__(self, lifetime: timedelta, costly: Callable[[T], bool] = lambda _: True) -> None:
        self._lifetime = lifetime
        self._costly = costly
        self._entry: tuple[datetime, T] | None = None

    @property
    def latest(self) -> T | None:
        """The value that was loaded last, however old it is."""
        return None if self._entry is None else self._entry[1]

    def get(self, now: datetime, load: Callable[[], T]) -> T:
        if self._entry is None or not is_recent(self._entry[0], now, self._lifetime):
            return self._keep(now, load())
        return self._entry[1]

    async def fetch(self, now: datetime, load: Callable[[], Awaitable[T]]) -> T:
        """Do the same as `get` with a value that has to be awaited."""
        if self._entry is None or not is_recent(self._entry[0], now, self._lifetime):
            return self._keep(now, await load())
        return self._entry[1]

    def _keep(self, now: datetime, value: T) -> T:
        self._entry = (now, value) if self._costly(value) else None
        return value

    def clear(self) -> None:
        self._entry = None


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class StravaClock:
    """An estimate of Strava's clock from the Date headers of its responses.

    The rate limit windows change by Strava's clock. A machine whose clock is right keeps its own time:
    only a difference that no network delay can explain counts.
    """

    def __init__(self, clock: Clock) -> None:
        self.machine = clock
        """The machine's own clock."""
        self.skew = timedelta(0)
        """How far Strava's clock is ahead of the machine's."""

    def now(self) -> datetime:
        return self.machine.now() + self.skew

    async def sleep(self, seconds: float) -> None:
        await self.machine.sleep(seconds)

    def to_machine_time(self, instant: datetime) -> datetime:
        """Return what the machine's clock shows when Strava's shows `instant`."""
        return instant - self.skew

    def observe(self, date: str | None, sent_at: datetime, received_at: datetime) -> datetime:
        """Learn from the Date header of a response; both instants are by the machine's clock.

        Returns when the response was written, by Strava's clock; if unknown, when the request was sent.
        """
        try:
            written_at = parsedate_to_datetime(date or "").astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            return sent_at + self.skew
        # It was written at some instant between the two, and in any part of its second.
        least, most = written_at - received_at, written_at + RESOLUTION - sent_at
        nearest = min(max(self.skew, least), most)
        if least > most or abs(nearest) > MOST_SKEW:
            return sent_at + self.skew
        self.skew = timedelta(0) if least <= timedelta(0) <= most else nearest
        return written_at
