"""Two worker processes on one PostgreSQL share the work, and never do the same job at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from feedzone.sandbox import Limits, SandboxOptions, running

JOBS = 500
DETAIL = "/activities/{id}"


@pytest.mark.timeout(180)
async def test_two_worker_processes_share_jobs_without_doing_one_twice(install, postgres_url, eventually):
    options = SandboxOptions(
        port=0,
        seed=3,
        athletes=1,
        history_days=1,
        limits=Limits(1_000_000, 1_000_000, 1_000_000, 1_000_000),
    )
    async with running(options) as strava:
        athlete = next(iter(strava.world.athletes))
        feedzone = install(strava.url, postgres_url, INITIAL_SYNC_DAYS="1", LOG_LEVEL="INFO")
        await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
        await feedzone.connect(athlete)
        ids = [strava.world.record(athlete, sport="Run", minutes=5, manual=True).id for _ in range(JOBS)]
        await asyncio.gather(*(deliver(feedzone, athlete, ids[n::8]) for n in range(8)))
        workers = [await feedzone.start("work") for _ in range(2)]

        async def drained():
            _, status = await feedzone.api("status")
            return status["events"].get("completed") == JOBS

        await eventually(drained, 150)
        endpoints = Counter(call.path for call in strava.world.journal.calls)
        assert endpoints[DETAIL] == JOBS
        shares = [worker.log.count("job_finished") for worker in workers]
        assert all(shares), shares


async def deliver(feedzone, athlete: int, ids: list[int]) -> None:
    for number, activity in enumerate(ids):
        event = {
            "object_type": "activity",
            "object_id": activity,
            "aspect_type": "create",
            "owner_id": athlete,
            "subscription_id": 1,
            "event_time": 1_700_000_000 + number,
        }
        async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event) as answer:
            assert answer.status == 200
