"""Open pages stay true: one look at the database for all of them tells whether anything changed.

A page that hears so asks for its changing part again. Who asks for the same gets what was rendered for the
first of them, as long as nothing has changed since.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable

import structlog
from litestar.response.sse import ServerSentEventMessage

from ...ports import Clock

log = structlog.get_logger("feedzone.live")

LOOK_S = 0.2
APART_S = 0.5
"""Pages are told at most so often; while much changes, nobody could read more."""

TICK_S = 15.0
"""Some of what pages show changes with time alone. Also, proxies close a stream on which nothing is said."""

KEPT = 64

Stamp = Callable[[], Awaitable[str]]
Render = Callable[[], Awaitable[str]]


class Live:
    """`stamp` differs when the database has changed. It is asked only while some page is open.

    `close` ends every stream: a server that stops would wait for them otherwise.
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
        """The number of the present version, and of each that follows."""
        self._listeners += 1
        if self._poller is None and not self._closed:
            self._poller = asyncio.create_task(self._poll(), name="live pages")
        told = -1
        try:
            while not self._closed:
                if told != self._version:
                    told = self._version
                    yield ServerSentEventMessage(data=str(told), event="changed")
                else:
                    await self._changed.wait()
        finally:
            self._listeners -= 1
            if self._listeners == 0:
                self._stop()

    async def shared(self, view: Hashable, render: Render) -> str:
        """What `render` gives, rendered once for all who look at `view` while nothing changes."""
        if self._poller is None:
            return await render()  # nobody looks whether anything changes
        held = self._rendered.get(view)
        if held is not None and held[0] == self._version and not _failed(held[1]):
            return await asyncio.shield(held[1])
        task = asyncio.ensure_future(render())
        self._rendered[view] = (self._version, task)
        self._rendered.move_to_end(view)
        while len(self._rendered) > KEPT:
            self._rendered.popitem(last=False)
        return await asyncio.shield(task)

    def touch(self) -> None:
        """Someone has just changed something: tell all pages at once."""
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
                # Pages stay as they are; whoever looks at them must not lose the stream.
                log.warning("database_not_looked_at", error=repr(problem))
            pause = LOOK_S
            if stamp != last or quiet_s >= TICK_S:
                if last is not None:
                    self.touch()
                    pause = APART_S
                last, quiet_s = stamp, 0.0
            quiet_s += pause
            await self._clock.sleep(pause)

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None
        self._rendered.clear()

    def close(self) -> None:
        """End all streams, now and from now on."""
        self._closed = True
        self.touch()


def _failed(future: asyncio.Future[str]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
