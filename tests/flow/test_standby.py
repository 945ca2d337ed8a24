"""A real standby takes over: deliveries go on within seconds, and nothing that was answered 200 is lost."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from engine import ManualEngine, make_engine

from feedzone import sandbox
from feedzone.app import working
from feedzone.clock import SystemClock
from feedzone.serve import front_door
from feedzone.store.engine import listener, postgres
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.schema import upgrade
from feedzone.store.schema.tables import strava_activities, webhook_events
from postgres_pair import Pair
from tcp_proxy import proxy_to

TRIES = 3
"""Each delivery is answered within 1.5 s, so deliveries go on within 5 s if one of these is answered 200."""

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def servers(postgres_server, tmp_path_factory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    if user := postgres_server.system_user:
        shutil.chown(folder, user)
    pair = Pair(folder, postgres_server)
    yield pair
    pair.stop()


@pytest.fixture
async def pair(servers: Pair) -> Pair:
    await asyncio.to_thread(servers.complete)
    return servers


@pytest.fixture
async def empty(pair: Pair) -> str:
    """The name of an empty database on both servers."""
    name = f"t{uuid.uuid4().hex}"
    await asyncio.to_thread(pair.primary.sql, f"CREATE DATABASE {name}")
    return name


class Installation:
    """feedzone in this process, with a worker, in front of these servers."""

    def __init__(self, engine: ManualEngine, athlete: int) -> None:
        self.engine = engine
        self._door = front_door(engine.app)
        self._athlete = athlete
        self._announced: set[int] = set()
        self._taken: set[int] = set()
        """The activities whose announcements were answered 200."""

    async def announce(self) -> int:
        """Announce a new activity; return the answer's status."""
        activity = self.engine.world.record(self._athlete, minutes=2).id
        self._announced.add(activity)
        event = next(e for e in reversed(self.engine.announced) if e.object_id == activity)
        body = msgspec.json.encode(event.payload(120_475))
        path = self.engine.app.settings.webhook_path
        answer = await sandbox.request(self._door, "POST", path, body, JSON)
        if answer.status == 200:
            self._taken.add(activity)
        return int(answer.status)

    async def goes_on(self) -> bool:
        """Return whether deliveries are answered 200 again after a few tries."""
        for _ in range(TRIES):
            if await self.announce() == 200:
                return True
        return False

    async def is_ready(self) -> bool:
        return bool((await sandbox.request(self._door, "GET", "/readyz")).status == 200)

    async def is_not_ready(self) -> bool:
        return not await self.is_ready()

    async def lost(self) -> set[int]:
        """Return which events are not in the database, although they were answered 200."""
        rows = await self.engine.rows(webhook_events)
        return self._taken - {row.object_id for row in rows}

    async def has_stored_all(self) -> bool:
        """Return whether all activities are stored that were ever announced, also those answered 503."""
        rows = await self.engine.rows(strava_activities, sync_status="synced")
        return {row.id for row in rows} == self._announced


@asynccontextmanager
async def installation(url: str, home: Any) -> AsyncIterator[Installation]:
    database = PostgresDatabase(url)
    await asyncio.to_thread(upgrade.prepare, database)
    engine, (athlete,) = make_engine(database, SystemClock(), home)
    await engine.connect(athlete)
    engine.app = engine.process(queue_poll_interval=200)
    try:
        async with working(engine.app):
            yield Installation(engine, athlete)
    finally:
        await engine.app.close()


def url_of(database: str, *ports: int) -> str:
    places = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://postgres@{places}/{database}?target_session_attrs=read-write"


@pytest.mark.parametrize("end", ["killed", "silent"])
async def test_the_standby_of_a_url_with_two_hosts_takes_over(
    pair, empty, tmp_path, eventually, monkeypatch, end
):
    """The primary crashes, or its machine answers no more."""
    monkeypatch.setattr(postgres, "ANSWER_S", 2.0)
    async with (
        proxy_to(url_of(empty, pair.primary.port)) as proxy,
        installation(url_of(empty, proxy.port, pair.standby.port), tmp_path) as feedzone,
    ):
        assert [await feedzone.announce() for _ in range(3)] == [200] * 3
        assert await feedzone.is_ready()
        if end == "killed":
            await asyncio.to_thread(pair.primary.stop)
        else:
            proxy.silence()
        assert await feedzone.announce() == 503
        await eventually(feedzone.is_not_ready)
        await asyncio.to_thread(pair.fail_over)
        assert await feedzone.goes_on()
        assert await feedzone.lost() == set()
        await eventually(feedzone.is_ready)
        await eventually(feedzone.has_stored_all, 60)


async def test_connections_that_stay_open_to_a_fenced_server_are_replaced(
    pair, empty, tmp_path, eventually, monkeypatch
):
    """One address leads to the primary. A switchover makes it read-only, and breaks no connection."""
    monkeypatch.setattr(listener, "CHECK_S", 0.5)
    monkeypatch.setattr(listener, "RECONNECT_S", 0.05)
    async with (
        proxy_to(url_of(empty, pair.primary.port)) as proxy,
        installation(url_of(empty, proxy.port), tmp_path) as feedzone,
    ):
        assert await feedzone.announce() == 200
        old = pair.primary
        assert await asyncio.to_thread(old.clients) >= 2
        await asyncio.to_thread(old.fence)
        await eventually(feedzone.is_not_ready)
        assert await feedzone.announce() == 503
        await asyncio.to_thread(pair.fail_over)
        proxy.lead_to(url_of(empty, pair.primary.port))
        assert await feedzone.goes_on()
        assert await feedzone.lost() == set()
        await eventually(feedzone.is_ready)
        await eventually(feedzone.has_stored_all, 60)

        async def is_left() -> bool:
            return await asyncio.to_thread(old.clients) == 0

        await eventually(is_left)


async def test_an_address_that_leads_to_the_old_primary_as_a_standby_is_not_used(
    pair, empty, tmp_path, eventually
):
    """The address still leads there for a while after the failover."""
    async with (
        proxy_to(url_of(empty, pair.primary.port)) as proxy,
        installation(url_of(empty, proxy.port), tmp_path) as feedzone,
    ):
        assert await feedzone.announce() == 200
        await asyncio.to_thread(pair.primary.stop)
        await asyncio.to_thread(pair.fail_over)
        await asyncio.to_thread(pair.complete)
        assert await feedzone.announce() == 503
        await eventually(feedzone.is_not_ready)
        proxy.lead_to(url_of(empty, pair.primary.port))
        assert await feedzone.goes_on()
        assert await feedzone.lost() == set()
        await eventually(feedzone.is_ready)
        await eventually(feedzone.has_stored_all, 60)
