"""Fixtures of the flow tests: an event goes in, a page or row comes out, against the sandbox over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from feedzone.sandbox import DeliveryRules, Limits, RunningSandbox, SandboxOptions, running
from processes import API_KEY, Feedzone, command, environment, free_port

OPTIONS = SandboxOptions(
    port=0,
    seed=7,
    athletes=2,
    history_days=12,
    limits=Limits(100_000, 1_000_000, 100_000, 1_000_000),
    delivery=DeliveryRules(attempts=3, spacing_s=0.5, timeout_s=2.0),
)
"""A sandbox over HTTP with a generous rate limit, which repeats failed deliveries after half a second."""


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    async with running(OPTIONS) as strava:
        yield strava


@dataclass
class Installation:
    """One feedzone as an operator runs it: settings, database, processes, and a browser session."""

    home: Path
    database_url: str
    strava_url: str
    port: int
    env: dict[str, str]
    processes: list[Feedzone]
    browser: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *arguments: str) -> Feedzone:
        process = Feedzone(self.home, self.env, *(arguments or ("serve", "--port", str(self.port))))
        self.processes.append(process)
        if not arguments or arguments[0] == "serve":
            await asyncio.to_thread(process.wait_ready, self.url)
        return process

    async def run(self, *arguments: str, within_s: float = 60):
        return await asyncio.to_thread(command, self.home, self.env, *arguments, within_s=within_s)

    async def connect(self, athlete_id: int, scope: str | None = None) -> str:
        """Consent in a browser, as a person does; return the text of the last page."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            async with browser.get(f"{self.url}/connect", allow_redirects=False) as leaving:
                consent = leaving.headers["Location"]
            granted = f"&sandbox_scope={scope}" if scope else ""
            async with browser.get(f"{consent}&sandbox_athlete={athlete_id}{granted}") as page:
                return await page.text()

    async def api(self, path: str, method: str = "GET", **options):
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{self.url}/api/v1/{path}"
        async with self.browser.request(method, url, headers=headers, **options) as answer:
            return answer.status, await answer.json(content_type=None)


Install = Callable[..., Installation]


@contextlib.asynccontextmanager
async def installations(folder: Path) -> AsyncIterator[Install]:
    """Yield a function that makes installations; stop their processes at the end."""
    made: list[Installation] = []

    def make(strava_url: str, database_url: str | None = None, **more: str) -> Installation:
        port = free_port()
        home = folder / f"installation{len(made)}"
        home.mkdir()
        database_url = database_url or f"sqlite:///{home / 'feedzone.db'}"
        env = environment(home, database_url, strava_url, port, **more)
        made.append(Installation(home, database_url, strava_url, port, env, [], aiohttp.ClientSession()))
        return made[-1]

    yield make
    for installation in made:
        await installation.browser.close()
        for process in installation.processes:
            if process.is_alive:
                process.kill()


@pytest.fixture
async def install(tmp_path: Path) -> AsyncIterator[Install]:
    async with installations(tmp_path) as make:
        yield make


async def eventually(check: Callable[[], Awaitable[object]], within_s: float = 20) -> object:
    """Wait until `check` returns a true value, and return it; the failure shows the last value."""
    deadline = time.monotonic() + within_s
    while True:
        result = await check()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within_s} s: {check.__name__} gave {result!r}"
        await asyncio.sleep(0.05)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[object]]:
    return eventually
