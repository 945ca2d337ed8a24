"""A few connections that transactions share: bounded, checked before use, closed when idle.

Differs from the pool of SQLAlchemy because that one waits for a silent connection without a limit, and never
closes an idle one, so that a busy process would keep connections from all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import StorageUnavailable
from .connecting import NoConnectionFree, Raw, unusable

TAKE_S = 5.0
"""How long a transaction waits for a free connection."""

CHECK_AFTER_S = 1.0
"""A connection that was idle for longer proves that it still works before it is used."""

CHECK_S = 1.0

IDLE_S = 10.0
"""An idle connection is closed after this; one stays, so that an event need not wait for a new one."""

SCARCE_S = 5.0
"""How long a process opens no more connections after the server had few left."""

PAUSE_S = 0.1

WRITERS = 2
"""Connections that reads never use, so that slow pages delay no event."""


@dataclass(eq=False)
class Pooled:
    """One connection. `surplus`: the server has few left, so it is closed after its use."""

    connection: AsyncConnection
    raw: Raw
    surplus: bool = False
    used_at: float = field(default_factory=time.monotonic)


class ConnectionPool:
    """At most `size` connections, from `open_one`; `is_scarce` says whether the server has few left."""

    def __init__(
        self,
        open_one: Callable[[], Awaitable[Pooled]],
        is_scarce: Callable[[Pooled], Awaitable[bool]],
        size: int,
    ) -> None:
        self._open_one = open_one
        self._is_scarce = is_scarce
        self._opening = 0
        self._scarce_until = 0.0
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._free_to_read = asyncio.Semaphore(max(1, size - WRITERS))
        self._idle: deque[Pooled] = deque()
        self._busy: set[Pooled] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._returned = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._idle) + len(self._busy)

    @contextlib.asynccontextmanager
    async def room(self, *, reading: bool) -> AsyncIterator[None]:
        """Wait until one more transaction may run; raises StorageUnavailable."""
        async with contextlib.AsyncExitStack() as leaving:
            try:
                async with asyncio.timeout(TAKE_S):
                    for limit in (self._free_to_read, self._free) if reading else (self._free,):
                        await leaving.enter_async_context(limit)
            except TimeoutError:
                raise StorageUnavailable(
                    f"PostgreSQL: all {self._size} connections have been in use for {TAKE_S:g} s"
                ) from None
            yield

    async def take(self) -> Pooled:
        """Return a connection that works, within `room`. Raises StorageUnavailable."""
        pooled = await self._idle_or_new()
        self._busy.add(pooled)
        return pooled

    async def _idle_or_new(self) -> Pooled:
        until = time.monotonic() + TAKE_S
        while True:
            while self._idle:
                pooled = self._idle.pop()
                if await self._or_discard(pooled, self._works(pooled)):
                    return pooled
                await discard(pooled)
            others = len(self._busy) + self._opening
            if not others or time.monotonic() >= self._scarce_until:
                try:
                    return await self._new()
                except NoConnectionFree:
                    # Those of this process come back soon, and other processes give theirs back.
                    if time.monotonic() > until:
                        raise
            if time.monotonic() > until:
                raise NoConnectionFree("PostgreSQL has no connection free")
            self._returned.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._returned.wait(), TAKE_S if others else PAUSE_S)

    async def _new(self) -> Pooled:
        """Open a connection. Beyond the first, only as many as leave some to other processes."""
        self._opening += 1
        try:
            pooled = await self._open_one()
            if self.open + self._opening > 1 and await self._or_discard(pooled, self._is_scarce(pooled)):
                pooled.surplus = True
                self._scarce_until = time.monotonic() + SCARCE_S
        finally:
            self._opening -= 1
        return pooled

    async def _or_discard(self, pooled: Pooled, question: Awaitable[bool]) -> bool:
        """Return the answer. If the transaction is cut off meanwhile, close the connection."""
        try:
            return await question
        except BaseException:
            self._discard_soon(pooled)
            raise

    async def _works(self, pooled: Pooled) -> bool:
        if pooled.raw.is_closed():
            return False
        if time.monotonic() - pooled.used_at > CHECK_AFTER_S:
            try:
                async with asyncio.timeout(CHECK_S):
                    await pooled.raw.execute("SELECT 1")
            except TimeoutError:
                self.drop_idle()  # where one is silent, the others probably are
                return False
            except Exception:
                return False
        return unusable(pooled.raw) is None

    async def give_back(self, pooled: Pooled) -> None:
        """Take back a connection without a transaction; keep it for the next one."""
        self._returned.set()
        self._busy.discard(pooled)
        if self._is_closed or pooled.surplus or pooled.raw.is_closed():
            await discard(pooled)
            return
        pooled.used_at = time.monotonic()
        self._idle.append(pooled)
        self._plan_reaping()

    async def give_up(self, pooled: Pooled) -> None:
        """Close a connection that failed."""
        self._returned.set()
        self._busy.discard(pooled)
        await discard(pooled)

    def drop_idle(self) -> None:
        """Close all idle connections: the server has failed over, or is silent."""
        while self._idle:
            self._discard_soon(self._idle.pop())

    def _discard_soon(self, pooled: Pooled) -> None:
        pooled.raw.terminate()
        task = asyncio.create_task(discard(pooled))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _plan_reaping(self) -> None:
        if self._reaper is None and len(self._idle) > 1:
            self._reaper = asyncio.get_running_loop().call_later(IDLE_S / 2, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        before = time.monotonic() - IDLE_S
        while len(self._idle) > 1 and self._idle[0].used_at < before:
            self._discard_soon(self._idle.popleft())
        self._plan_reaping()

    async def close(self) -> None:
        """Close all connections, also those in use."""
        self._is_closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        remaining = [*self._idle, *self._busy]
        self._idle.clear()
        for pooled in remaining:
            await discard(pooled)
        if self._closing:
            await asyncio.wait(self._closing)


async def discard(pooled: Pooled) -> None:
    """Close a connection at once, whatever it is doing; a silent server is not asked."""
    pooled.raw.terminate()
    with contextlib.suppress(Exception):
        await pooled.connection.invalidate()
    with contextlib.suppress(Exception):
        await pooled.connection.close()
