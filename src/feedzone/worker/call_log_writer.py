"""Writes down, every few seconds, which calls were made."""

from __future__ import annotations

from typing import Protocol

from ..ports import Clock

RECORD_EVERY_S = 2.0


class CallBuffer(Protocol):
    """Calls that were noted and are not yet written."""

    async def noted(self) -> None:
        """Wait until there is one."""
        ...

    async def flush(self) -> int: ...


class CallLogWriter:
    def __init__(self, notes: CallBuffer, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many calls were written."""
        return await self._notes.flush()

    async def pause(self) -> None:
        """Nothing to do costs nothing; after the first call, others are given time to come along."""
        await self._notes.noted()
        await self._clock.sleep(RECORD_EVERY_S)
