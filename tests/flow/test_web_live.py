"""Live updates of open pages, and their cost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import uvicorn
from web_world import World, web_world

from feedzone.errors import StorageUnavailable
from feedzone.store.engine.database import Database
from feedzone.web.app import end_streams
from feedzone.web.rendering.live import Live


class Tide:
    """A database that changes on command and counts its polls."""

    def __init__(self) -> None:
        self.level = 0
        self.looks = 0
        self.is_away = False

    async def __call__(self) -> str:
        self.looks += 1
        if self.is_away:
            raise StorageUnavailable
        return str(self.level)


class Ticks:
    """A clock whose sleepers wake on command."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, _: float) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]

    async def tick(self) -> None:
        while not self.waiting:
            await asyncio.sleep(0)
        self.waiting.pop().set_result(None)
        while not self.waiting:
            await asyncio.sleep(0)


async def test_many_viewers_share_one_poll_and_get_only_changes() -> None:
    tide, ticks = Tide(), Ticks()
    live = Live(tide, ticks)
    streams = [live.follow() for _ in range(3)]
    assert [(await anext(stream)).data for stream in streams] == ["0", "0", "0"]
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    for _ in range(3):
        await ticks.tick()
    assert not any(future.done() for future in waiting)
    tide.is_away = True
    await ticks.tick()
    tide.is_away = False
    tide.level = 1
    await ticks.tick()
    assert [(await future).data for future in waiting] == ["1", "1", "1"]
    assert tide.looks == 6
    for stream in streams:
        await stream.aclose()


async def test_pages_are_updated_when_only_time_has_passed() -> None:
    tide, ticks = Tide(), Ticks()
    live = Live(tide, ticks)
    stream = live.follow()
    await anext(stream)
    told = asyncio.ensure_future(anext(stream))
    rounds = 0
    while not told.done():
        await ticks.tick()
        rounds += 1
    assert 60 < rounds < 90  # of 0.2 s each
    await stream.aclose()


async def test_the_database_is_not_polled_while_no_page_is_open() -> None:
    tide, ticks = Tide(), Ticks()
    live = Live(tide, ticks)
    stream = live.follow()
    await anext(stream)
    while not ticks.waiting:
        await asyncio.sleep(0)
    await stream.aclose()
    assert live.listeners == 0
    await asyncio.sleep(0)
    assert ticks.waiting[0].cancelled()
    again = live.follow()
    assert (await anext(again)).data == "0"
    await again.aclose()


class Painter:
    """Counts its renderings."""

    def __init__(self) -> None:
        self.painted = 0

    async def __call__(self) -> str:
        self.painted += 1
        await asyncio.sleep(0)
        return f"picture {self.painted}"


async def test_viewers_of_the_same_page_share_one_rendering_until_a_change() -> None:
    painter, live = Painter(), Live(Tide(), Ticks())
    stream = live.follow()
    await anext(stream)
    seen = await asyncio.gather(*(live.shared("overview", painter) for _ in range(50)))
    assert set(seen) == {"picture 1"}
    assert await live.shared("health", painter) == "picture 2"
    live.touch()
    assert await live.shared("overview", painter) == "picture 3"
    await stream.aclose()
    assert await live.shared("overview", painter) == "picture 4"  # nobody watches: nothing is taken for true


async def test_a_failed_rendering_is_tried_again() -> None:
    live, painter = Live(Tide(), Ticks()), Painter()
    stream = live.follow()
    await anext(stream)

    async def fails() -> str:
        raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        await live.shared("overview", fails)
    assert await live.shared("overview", painter) == "picture 1"
    await stream.aclose()


async def test_the_stamp_differs_after_a_commit_and_only_then(database: Database) -> None:
    async with web_world(database) as world:
        first = await database.data_version()
        assert await database.data_version() == first
        await world.connect()
        assert await database.data_version() != first
        stamps = []
        for _ in range(4):  # PostgreSQL notes beside the first rows that it reads what it found of them
            await world.parts.queries.dashboard.overview()
            stamps.append(await database.data_version())
        assert stamps[-1] == stamps[-2]


async def listeners(world: World, expected: int) -> None:
    """Wait until the page has this many lines."""
    async with asyncio.timeout(5):
        while world.site.state.live.listeners != expected:
            await asyncio.sleep(0.01)


async def test_an_open_page_gets_changes_and_does_not_block_the_servers_stop(world: World) -> None:
    server = uvicorn.Server(uvicorn.Config(world.site, port=0, log_config=None, lifespan="on"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as browser:
        home = (await browser.get("/")).text
        path = re.search(r'data-live="([^"]*)"', home).group(1)
        fragment = {"HX-Request": "true", "X-Seen": re.search(r'data-digest="([^"]*)"', home).group(1)}
        async with browser.stream("GET", path) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            heard = [line async for line in _until(lines, "data: ")]
            assert (await browser.get("/", headers=fragment)).status_code == 204
            await world.connect()
            heard = [line async for line in _until(lines, "data: ")]
            assert heard[-1] != "data: 0"
            changed = await browser.get("/", headers=fragment)
            assert "Ada Lovelace" in changed.text
            assert "<html" not in changed.text
            async with browser.stream("GET", path):
                await listeners(world, 2)
            await listeners(world, 1)
            async with asyncio.timeout(5):
                server.should_exit = True
                end_streams(world.site)
                async for _ in lines:
                    pass
                await serving


async def _until(lines: AsyncIterator[str], start: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith(start):
            return
