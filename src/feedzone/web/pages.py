"""The first page, and how it stays true while it is open."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import structlog
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation
from litestar.response import ServerSentEvent, Template
from litestar.response.sse import ServerSentEventMessage
from litestar.types import Guard

from ..ports import Clock
from ..views import Overview
from .format import verdict
from .parts import Parts

log = structlog.get_logger("feedzone.pages")

EVERY_S = 1.0
HEARTBEAT_S = 15.0
"""Proxies close a connection on which nothing is said for a minute or so."""

Render = Callable[[], Awaitable[str]]


class Live:
    """Renders the changing part of the page, once for all who look at it, and only while someone does.

    `close` ends every stream: a server that stops would wait for them otherwise.
    """

    def __init__(self, render: Render, clock: Clock) -> None:
        self._render = render
        self._clock = clock
        self._listeners = 0
        self._latest: ServerSentEventMessage | None = None
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def listeners(self) -> int:
        return self._listeners

    async def follow(self, seen: str | None) -> AsyncGenerator[ServerSentEventMessage, None]:
        """A message whenever the fragment differs from the one whose digest is `seen`."""
        self._listeners += 1
        if self._poller is None and not self._closed:
            self._poller = asyncio.create_task(self._poll(), name="live page")
        try:
            while not self._closed:
                if self._latest is not None and self._latest.id != seen:
                    seen = str(self._latest.id)
                    yield self._latest
                elif not await _within(self._changed, HEARTBEAT_S):
                    yield ServerSentEventMessage(data=None, comment="")
        finally:
            self._listeners -= 1
            if self._listeners == 0:
                self._stop()

    async def _poll(self) -> None:
        while True:
            try:
                fragment = await self._render()
            except Exception as problem:
                # The page stays as it is; whoever looks at it must not lose the stream.
                log.warning("live_page_not_rendered", error=repr(problem))
            else:
                self._publish(fragment)
            await self._clock.sleep(EVERY_S)

    def _publish(self, fragment: str) -> None:
        name = digest(fragment)
        if self._latest is None or self._latest.id != name:
            self._latest = ServerSentEventMessage(data=fragment, id=name)
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None
        self._latest = None

    def close(self) -> None:
        """End all streams, now and from now on."""
        self._closed = True
        self._wake()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def digest(fragment: str) -> str:
    return hashlib.sha256(fragment.encode()).hexdigest()[:16]


def context_of(overview: Overview) -> dict[str, Any]:
    """What page and fragment are rendered from."""
    return {
        "overview": overview,
        "verdict": verdict(overview.pulse),
        "names": {athlete.id: athlete.name for athlete in overview.athletes},
    }


LivePage = NamedDependency[SkipValidation[Live]]


@get("/")
async def home(request: Request[Any, Any, Any], parts: Parts) -> Template:
    context = context_of(await parts.insights.overview())
    fragment = request.app.template_engine.get_template("overview.html").render(context)  # type: ignore[union-attr]
    return Template("home.html", context={"fragment": fragment, "digest": digest(fragment)})


@get("/live")
async def live(
    request: Request[Any, Any, Any], page: LivePage, seen: FromQuery[str | None] = None
) -> Response[Any]:
    """Server-sent events, each with the whole changing part of the page."""
    last = request.headers.get("last-event-id") or seen
    return ServerSentEvent(page.follow(last), retry_duration=3000)


def pages_router(guard: Guard) -> Router:
    return Router("/", route_handlers=[home, live], guards=[guard], include_in_schema=False)
