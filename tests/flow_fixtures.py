"""Fixtures of the flow tests: POST in, page or row out, against the sandbox over real HTTP."""

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
    history_days=40,
    limits=Limits(100_000, 1_000_000, 100_000, 1_000_000),
    delivery=DeliveryRules(attempts=3, spacing_s=0.5, timeout_s=2.0),
)
"""A sandbox Strava over HTTP, with room for tests, whose deliveries are retried soon."""


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    async with running(OPTIONS) as strava:
        yield strava


@dataclass
class Installation:
    """One feedzone as an operator has it: settings, database, processes, and a browser to it."""

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
        """Consent as a person does; returns the last page."""
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
    """Makes installations, and ends their processes."""
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
            if process.process.poll() is None:
                process.kill()


@pytest.fixture
async def install(tmp_path: Path) -> AsyncIterator[Install]:
    async with installations(tmp_path) as make:
        yield make


async def eventually(check: Callable[[], Awaitable[object]], within_s: float = 20) -> object:
    """Wait until `check` gives something true; the last thing it gave otherwise stands in the failure."""
    deadline = time.monotonic() + within_s
    while True:
        found = await check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s: {check.__name__} gave {found!r}"
        await asyncio.sleep(0.05)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[object]]:
    return eventually
