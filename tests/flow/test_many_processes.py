"""Two servers and two workers on one PostgreSQL share the work; each of them may end at any moment."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import aiohttp
import asyncpg
import pytest

from feedzone.domain.signature import sign
from feedzone.sandbox import Limits, SandboxOptions, World, running
from flow_fixtures import Installation
from processes import Feedzone, free_port

ATHLETES = 40
EACH = 5
"""So few that no list call, which could show an activity before its own event, is due for an athlete."""
JOBS = ATHLETES * EACH
RUN = re.compile(r"job_finished .*key=activity:(\d+) kind=refresh_activity outcome=done")


class Fleet:
    """Two servers and two workers of one installation; each can be replaced."""

    def __init__(self, feedzone: Installation) -> None:
        self.feedzone = feedzone
        self.ports = (feedzone.port, free_port())
        self.servers: list[Feedzone] = []
        self.workers: list[Feedzone] = []

    async def serve(self, number: int) -> Feedzone:
        port = self.ports[number]
        server = await self.feedzone.start("serve", "--port", str(port), "--no-worker")
        await asyncio.to_thread(server.wait_ready, f"http://127.0.0.1:{port}")
        return server

    async def work(self) -> Feedzone:
        return await self.feedzone.start("work")

    async def roll(self) -> None:
        """Replace each process by another one: the first of a kind is killed, the second one stopped."""
        self.workers[0].kill()
        self.workers[0] = await self.work()
        self.servers[0].kill()
        self.servers[0] = await self.serve(0)
        assert await self.workers[1].stop() == 0
        self.workers[1] = await self.work()
        assert await self.servers[1].stop() == 0
        self.servers[1] = await self.serve(1)

    async def leader_lives(self) -> bool:
        _, status = await self.feedzone.api("status")
        leader = status["leader"] or "::"
        return int(leader.split(":")[-2] or 0) in [worker.pid for worker in self.workers]

    async def deliver(self, athlete: int, ids: Sequence[int]) -> None:
        for number, activity in enumerate(ids):
            while not await self._answered(self.ports[activity % 2], body_of(athlete, activity, number)):
                await asyncio.sleep(0.2)  # Strava repeats a refused delivery, too

    async def _answered(self, port: int, body: bytes) -> bool:
        signature = sign(body, "sandbox-secret", int(time.time()))
        headers = {"Content-Type": "application/json", "X-Strava-Signature": signature}
        url = f"http://127.0.0.1:{port}/api/webhooks/strava"
        try:
            async with self.feedzone.browser.post(url, data=body, headers=headers) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError):
            return False


def body_of(athlete: int, activity: int, number: int) -> bytes:
    event = {
        "object_type": "activity",
        "object_id": activity,
        "aspect_type": "create",
        "owner_id": athlete,
        "subscription_id": 1,
        "event_time": 1_700_000_000 + number,
    }
    return json.dumps(event).encode()


def record(world: World) -> Mapping[int, Sequence[int]]:
    """Record new activities of each athlete; return their ids."""
    return {
        athlete: [world.record(athlete, sport="Run", minutes=5, manual=True).id for _ in range(EACH)]
        for athlete in world.athletes
    }


async def times_stored(url: str, ids: Collection[int]) -> list[Counter[int]]:
    """Return how often each activity has an event, and how often the change feed says that it is new."""
    database = await asyncpg.connect(url)
    try:
        queries = (
            "SELECT object_id FROM webhook_events",
            "SELECT activity_id FROM activity_changes WHERE kind = 'new'",
        )
        rows = [await database.fetch(query) for query in queries]
        return [Counter(row[0] for row in each if row[0] in ids) for each in rows]
    finally:
        await database.close()


@pytest.mark.timeout(300)
async def test_processes_share_the_work_and_may_end_in_any_way(install, postgres_url, eventually):
    limits = Limits(1_000_000, 1_000_000, 1_000_000, 1_000_000)
    options = SandboxOptions(port=0, seed=3, athletes=ATHLETES, history_days=0, limits=limits)
    async with running(options) as strava:
        feedzone = install(strava.url, postgres_url, INITIAL_SYNC_DAYS="1", LOG_LEVEL="INFO")
        fleet = Fleet(feedzone)
        fleet.servers = [await fleet.serve(number) for number in range(2)]
        for athlete in strava.world.athletes:
            await feedzone.connect(athlete)
        first_workers = fleet.workers = [await fleet.work() for _ in range(2)]

        async def synced_first():
            done = "kind=backfill_athlete outcome=done"
            return sum(worker.log.count(done) for worker in first_workers) == ATHLETES

        await eventually(synced_first, 60)
        sent = [record(strava.world)]
        await asyncio.gather(*(fleet.deliver(*each) for each in sent[0].items()))

        async def drained():
            _, status = await feedzone.api("status")
            return status["events"].get("completed") == len(sent) * JOBS

        await eventually(drained, 150)
        ids = {activity for each in sent[0].values() for activity in each}
        runs = [map(int, RUN.findall(worker.log)) for worker in first_workers]
        shares = [Counter(activity for activity in each if activity in ids) for each in runs]
        assert shares[0] + shares[1] == dict.fromkeys(ids, 1)
        assert all(shares), [len(share) for share in shares]

        sent.append(record(strava.world))
        strava.world.faults.change({"slow": 1.0, "slow_s": 0.3})  # so that jobs run while their process ends
        await asyncio.gather(fleet.roll(), *(fleet.deliver(*each) for each in sent[1].items()))
        strava.world.faults.change({"slow": 0.0})
        await eventually(drained, 150)
        assert await eventually(fleet.leader_lives)
        once = Counter(activity for each in sent for ids in each.values() for activity in ids)
        assert await times_stored(postgres_url, once) == [once, once]
        _, dead = await feedzone.api("jobs?state=dead")
        assert dead["items"] == []
