"""A real Chromium for the browser tests, shared by a session together with its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from feedzone.sandbox import RunningSandbox, running
from flow_fixtures import OPTIONS, Install, eventually, eventually_fixture, installations
from stage import FLAGS, RETRIES, Stage, populate

__all__ = ["eventually_fixture"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed: run `make programs`")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def chromium(_chromium: Browser) -> AsyncIterator[Browser]:
    """Close the pages that a test leaves open, because they would continue to poll.

    Closing a page during a navigation may block Playwright; such a page stays until the session ends.
    """
    yield _chromium
    for context in _chromium.contexts:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox() -> AsyncIterator[RunningSandbox]:
    async with running(OPTIONS) as strava:
        yield strava


@pytest_asyncio.fixture(loop_scope="session")
async def install(tmp_path: Path) -> AsyncIterator[Install]:
    async with installations(tmp_path) as make:
        yield make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with running(OPTIONS) as strava, installations(tmp_path_factory.mktemp("stage")) as make:
        feedzone = make(strava.url, **RETRIES)
        await feedzone.start()
        await populate(feedzone, strava, eventually)
        yield Stage(feedzone, strava.world)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(_stage: Stage) -> Stage:
    """An installation with data in every state, for tests that remove nothing from it.

    The work that the previous test caused is done.
    """

    async def idle() -> object:
        soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
        _, running = await _stage.feedzone.api("jobs?state=running")
        _, queued = await _stage.feedzone.api("jobs?state=queued")
        return not running["items"] and all(job["due_at"] > soon for job in queued["items"])

    await eventually(idle, 60)
    return _stage
