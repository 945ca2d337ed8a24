"""A clock that tests control."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

REAL_S = 0.01
"""The longest real pause of a sleep."""


class ManualClock:
    """A clock that only advances when a test or a sleep advances it."""

    def __init__(self, start: datetime = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, **by: float) -> None:
        self._now += timedelta(**by)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)
        await asyncio.sleep(0)


class PatientClock(ManualClock):
    """A clock whose sleeps overlap, and last long enough for answers to arrive meanwhile."""

    async def sleep(self, seconds: float) -> None:
        end = self._now + timedelta(seconds=seconds)
        await asyncio.sleep(min(seconds, REAL_S))
        self._now = max(self._now, end)
