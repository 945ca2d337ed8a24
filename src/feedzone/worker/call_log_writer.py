"""Writes the noted calls to the call log every few seconds."""

from __future__ import annotations

from typing import Protocol

from ..ports import Clock

RECORD_EVERY_S = 2.0


class CallBuffer(Protocol):
    """Noted calls that are not written yet."""

    async def noted(self) -> None:
        """Wait until there is a call to write."""
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
        """Wait for a call, and then a little longer for others, so that they share a transaction."""
        await self._notes.noted()
        await self._clock.sleep(RECORD_EVERY_S)
