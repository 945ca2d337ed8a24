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
    def __init__(self, buffer: CallBuffer, clock: Clock) -> None:
        self._buffer = buffer
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many calls were written."""
        return await self._buffer.flush()

    async def pause(self) -> None:
        """Wait for a call, and then a little longer for others, so that they share a transaction."""
        await self._buffer.noted()
        await self._clock.sleep(RECORD_EVERY_S)
