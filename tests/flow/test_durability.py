"""An event answered with 200 is in the database exactly once, whatever happens to the process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sqlite3
import time
from collections.abc import Iterator

import aiohttp
import asyncpg
import pytest

CONNECTIONS = 64


def event(number: int, owner: int) -> dict:
    return {
        "object_type": "activity",
        "object_id": 10_000_000_000 + number,
        "aspect_type": "create",
        "owner_id": owner,
        "subscription_id": 1,
        "event_time": 1_700_000_000 + number,
        "updates": {},
    }


async def post_all(url: str, owner: int, numbers: range) -> tuple[list[int], list[float]]:
    """Post the events over many connections; return those answered 200, and all response times in s."""
    acknowledged: list[int] = []
    took: list[float] = []
    queue = list(numbers)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def poster() -> None:
            while queue:
                number = queue.pop()
                began = time.perf_counter()
                try:
                    hook = f"{url}/api/webhooks/strava"
                    async with session.post(hook, json=event(number, owner)) as answer:
                        await answer.read()
                        if answer.status == 200:
                            acknowledged.append(number)
                except (aiohttp.ClientError, OSError):
                    return
                took.append(time.perf_counter() - began)

        await asyncio.gather(*(poster() for _ in range(CONNECTIONS)))
    return acknowledged, took


@contextlib.contextmanager
def no_collection_here() -> Iterator[None]:
    """Disable the garbage collector: it would stop this process, which measures, longer than a response."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def stored(path: str) -> list[int]:
    with sqlite3.connect(path) as database:
        return [row[0] - 10_000_000_000 for row in database.execute("SELECT object_id FROM webhook_events")]


@pytest.mark.alone
@pytest.mark.parametrize("known", [True, False], ids=["of a connected athlete", "of a stranger"])
async def test_a_thousand_events_over_64_connections_are_stored_once_each_in_time(sandbox, install, known):
    """The median p99 of three rounds is under 100 ms: other work on the machine may spoil one round."""
    feedzone = install(sandbox.url, INITIAL_SYNC_DAYS="1")
    await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
    owner = next(iter(sandbox.world.athletes))
    if known:
        await feedzone.connect(owner)
    p99 = []
    for numbers in (range(1000), range(1000, 2000), range(2000, 3000)):
        with no_collection_here():
            acknowledged, took = await post_all(feedzone.url, owner, numbers)
        assert sorted(acknowledged) == list(numbers)
        p99.append(sorted(took)[int(len(took) * 0.99)])
    assert sorted(stored(str(feedzone.home / "feedzone.db"))) == list(range(3000))
    assert sorted(p99)[1] < 0.1, [f"{seconds * 1000:.0f} ms" for seconds in p99]


async def test_a_kill_loses_no_acknowledged_event(sandbox, install):
    feedzone = install(sandbox.url, INITIAL_SYNC_DAYS="1")
    process = await feedzone.start()
    owner = next(iter(sandbox.world.athletes))
    await feedzone.connect(owner)
    killing = asyncio.get_running_loop().call_later(0.15 + random.random() * 0.3, process.kill)
    acknowledged, _ = await post_all(feedzone.url, owner, range(5000))
    killing.cancel()
    assert 0 < len(acknowledged) < 5000
    await feedzone.start()
    numbers_stored = stored(str(feedzone.home / "feedzone.db"))
    assert set(acknowledged) <= set(numbers_stored)
    assert len(numbers_stored) == len(set(numbers_stored))


async def test_a_locked_postgresql_table_is_answered_503_within_two_seconds(sandbox, install, postgres_url):
    feedzone = install(sandbox.url, postgres_url)
    await feedzone.start()
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(1, 5)) as answer:
            assert answer.status == 503
        assert time.monotonic() - began < 2
    await other.close()
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(1, 5)) as answer:
        assert answer.status == 200


async def test_a_locked_sqlite_database_is_answered_503_within_two_seconds(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    lock = sqlite3.connect(feedzone.home / "feedzone.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(1, 5)) as answer:
        assert answer.status == 503
        assert answer.content_type == "application/problem+json"
    assert time.monotonic() - began < 2
    lock.execute("ROLLBACK")
    lock.close()
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(2, 5)) as answer:
        assert answer.status == 200
