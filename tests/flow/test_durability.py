"""An event answered with 200 is in the database exactly once, whatever happens to the process."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import aiohttp
import asyncpg

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


class Poster:
    """Posts events over many connections, and remembers which were answered 200."""

    def __init__(self, url: str, owner: int, numbers: range) -> None:
        self.acknowledged: list[int] = []
        self._hook, self._owner = f"{url}/api/webhooks/strava", owner
        self._queue = list(numbers)

    async def run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            await asyncio.gather(*(self._post(session) for _ in range(CONNECTIONS)))

    async def _post(self, session: aiohttp.ClientSession) -> None:
        while self._queue:
            number = self._queue.pop()
            try:
                async with session.post(self._hook, json=event(number, self._owner)) as answer:
                    await answer.read()
                    if answer.status == 200:
                        self.acknowledged.append(number)
            except (aiohttp.ClientError, OSError):
                return


def stored(path: str) -> list[int]:
    with sqlite3.connect(path) as database:
        return [row[0] - 10_000_000_000 for row in database.execute("SELECT object_id FROM webhook_events")]


async def test_a_thousand_events_over_64_connections_are_stored_once_each(sandbox, install):
    feedzone = install(sandbox.url, INITIAL_SYNC_DAYS="1")
    await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
    owner = next(iter(sandbox.world.athletes))
    await feedzone.connect(owner)
    poster = Poster(feedzone.url, owner, range(1000))
    await poster.run()
    assert sorted(poster.acknowledged) == list(range(1000))
    assert sorted(stored(str(feedzone.home / "feedzone.db"))) == list(range(1000))


async def test_a_kill_loses_no_acknowledged_event(sandbox, install, eventually):
    feedzone = install(sandbox.url, INITIAL_SYNC_DAYS="1")
    process = await feedzone.start()
    owner = next(iter(sandbox.world.athletes))
    await feedzone.connect(owner)
    poster = Poster(feedzone.url, owner, range(5000))
    posting = asyncio.create_task(poster.run())
    least = random.randint(1, 500)

    async def some_are_acknowledged() -> bool:
        return len(poster.acknowledged) >= least

    await eventually(some_are_acknowledged, 60)
    process.kill()
    await posting
    assert len(poster.acknowledged) < 5000
    await feedzone.start()
    numbers_stored = stored(str(feedzone.home / "feedzone.db"))
    assert set(poster.acknowledged) <= set(numbers_stored)
    assert len(numbers_stored) == len(set(numbers_stored))


async def test_a_locked_postgresql_table_is_answered_503(sandbox, install, postgres_url):
    feedzone = install(sandbox.url, postgres_url)
    await feedzone.start()
    other = await asyncpg.connect(postgres_url)
    async with other.transaction():
        await other.execute("LOCK TABLE webhook_events, unknown_owners IN ACCESS EXCLUSIVE MODE")
        async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(1, 5)) as answer:
            assert answer.status == 503
    await other.close()
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(1, 5)) as answer:
        assert answer.status == 200


async def test_a_locked_sqlite_database_is_answered_503(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    lock = sqlite3.connect(feedzone.home / "feedzone.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(1, 5)) as answer:
        assert answer.status == 503
        assert answer.content_type == "application/problem+json"
    lock.execute("ROLLBACK")
    lock.close()
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event(2, 5)) as answer:
        assert answer.status == 200
