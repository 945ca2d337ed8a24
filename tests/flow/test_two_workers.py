"""Two worker processes on one PostgreSQL share the work, and never do the same job at the same time."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter

import pytest

from feedzone.domain.signature import sign
from feedzone.sandbox import Limits, SandboxOptions, running

ATHLETES = 40
EACH = 5
"""So few that no list call, which could show an activity before its own event, is due for an athlete."""
JOBS = ATHLETES * EACH
RUN = re.compile(r"job_finished .*key=(\S+) kind=refresh_activity")


@pytest.mark.timeout(180)
async def test_two_worker_processes_share_jobs_without_doing_one_twice(install, postgres_url, eventually):
    limits = Limits(1_000_000, 1_000_000, 1_000_000, 1_000_000)
    options = SandboxOptions(port=0, seed=3, athletes=ATHLETES, history_days=0, limits=limits)
    async with running(options) as strava:
        athletes = list(strava.world.athletes)
        feedzone = install(strava.url, postgres_url, INITIAL_SYNC_DAYS="1", LOG_LEVEL="INFO")
        await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
        for athlete in athletes:
            await feedzone.connect(athlete)
        workers = [await feedzone.start("work") for _ in range(2)]

        async def synced_first():
            done = "kind=backfill_athlete outcome=done"
            return sum(worker.log.count(done) for worker in workers) == ATHLETES

        await eventually(synced_first, 60)
        ids = {
            athlete: [
                strava.world.record(athlete, sport="Run", minutes=5, manual=True).id for _ in range(EACH)
            ]
            for athlete in athletes
        }
        await asyncio.gather(*(deliver(feedzone, athlete, ids[athlete]) for athlete in athletes))

        async def drained():
            _, status = await feedzone.api("status")
            return status["events"].get("completed") == JOBS

        await eventually(drained, 150)
        wanted = {f"activity:{activity}" for each in ids.values() for activity in each}
        shares = [Counter(key for key in RUN.findall(worker.log) if key in wanted) for worker in workers]
        assert shares[0] + shares[1] == dict.fromkeys(wanted, 1)
        assert all(shares), [len(share) for share in shares]


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
        body = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Strava-Signature": sign(body, "sandbox-secret", int(time.time())),
        }
        url = f"{feedzone.url}/api/webhooks/strava"
        async with feedzone.browser.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200
