"""Keep open pages up to date with one poll of the database for all of them.

The poll tells only that something changed; each page then requests its changing part again. Viewers of
the same view share one rendering until the next change.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable

import structlog
from litestar.response.sse import ServerSentEventMessage

from ...errors import reason_of
from ...ports import Clock

log = structlog.get_logger("feedzone.live")

POLL_S = 0.2
MIN_INTERVAL_S = 0.5
"""The shortest time between two updates: nobody can read faster changes."""

TICK_S = 15.0
"""The longest time without an update: some texts change with time alone, and proxies close idle streams."""

MAX_RENDERED = 64

Stamp = Callable[[], Awaitable[str]]
Render = Callable[[], Awaitable[str]]


class Live:
    """Sends updates to open pages. `stamp` differs after each change of the database.

    The database is polled only while a page is open. `close` ends every stream, because a server that
    stops would wait for them otherwise.
    """

    def __init__(self, stamp: Stamp, clock: Clock) -> None:
        self._stamp = stamp
        self._clock = clock
        self._version = 0
        self._listeners = 0
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False
        self._rendered: OrderedDict[Hashable, tuple[int, asyncio.Future[str]]] = OrderedDict()

    @property
    def listeners(self) -> int:
        return self._listeners

    async def follow(self) -> AsyncGenerator[ServerSentEventMessage, None]:
        """Yield the number of the current version, and then of each new one."""
        self._listeners += 1
        if self._poller is None and not self._closed:
            self._poller = asyncio.create_task(self._poll(), name="live pages")
        sent = -1
        try:
            while not self._closed:
                if sent != self._version:
                    sent = self._version
                    yield ServerSentEventMessage(data=str(sent), event="changed")
                else:
                    await self._changed.wait()
        finally:
            self._listeners -= 1
            if self._listeners == 0:
                self._stop()

    async def shared(self, view: Hashable, render: Render) -> str:
        """Return the result of `render`, called once for all viewers of `view` until the next change."""
        if self._poller is None:
            return await render()  # without a poll nothing notices a change
        cached = self._rendered.get(view)
        if cached is not None and cached[0] == self._version and not _failed(cached[1]):
            return await asyncio.shield(cached[1])
        task = asyncio.ensure_future(render())
        self._rendered[view] = (self._version, task)
        self._rendered.move_to_end(view)
        while len(self._rendered) > MAX_RENDERED:
            self._rendered.popitem(last=False)
        return await asyncio.shield(task)

    def touch(self) -> None:
        """Update all pages now, because this process has just changed something."""
        self._version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _poll(self) -> None:
        last, quiet_s = None, 0.0
        while True:
            stamp = last
            try:
                stamp = await self._stamp()
            except Exception as problem:
                # Pages stay as they are: an error must not end the viewers' streams.
                log.warning("database_poll_failed", error=reason_of(problem))
            pause = POLL_S
            if stamp != last or quiet_s >= TICK_S:
                if last is not None:
                    self.touch()
                    pause = MIN_INTERVAL_S
                last, quiet_s = stamp, 0.0
            quiet_s += pause
            await self._clock.sleep(pause)

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None
        self._rendered.clear()

    def close(self) -> None:
        """End all streams and open no more."""
        self._closed = True
        self.touch()


def _failed(future: asyncio.Future[str]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
