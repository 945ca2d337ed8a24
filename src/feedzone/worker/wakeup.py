"""Wakeups within one process, and between processes on PostgreSQL (ports.Wakeup)."""

from __future__ import annotations

import asyncio


class LocalWakeup:
    """Wakes the waiters of this process. A notification that comes while nobody waits is kept."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
