"""Claim and finish no-op jobs in one process: how many a second. JSON in, JSON out (bench/compare.py)."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from sqlalchemy import text

from feedzone.app import App, build, prepare_database, working
from feedzone.domain.job import Job, JobSpec, Lane, PlainHint
from feedzone.domain.outcome import Done
from feedzone.store.jobs import lifecycle
from feedzone.telemetry import configure_logging

from .fetches import settings_of

LEFT = text("SELECT count(*) FROM jobs WHERE kind = 'refresh_gear'")


async def nothing(_: Job) -> Done:
    return Done()


async def noop_rate(app: App, jobs: int) -> float:
    """Return how many no-op jobs a second this process claims and finishes; they wait already."""
    now = app.clock.now()
    for start in range(1, jobs + 1, 500):
        specs = [
            JobSpec("refresh_gear", f"athlete:{number}", 1, PlainHint(), 0, Lane.LIVE)
            for number in range(start, min(start + 500, jobs + 1))
        ]
        await app.database.write(lambda c, specs=specs: lifecycle.enqueue(c, specs, now))
    # The executor's own table of handlers: this bench measures the queue around them.
    app.worker._executor._handlers = {"refresh_gear": nothing}  # type: ignore[dict-item]
    began = time.perf_counter()
    async with working(app):
        while await app.database.read(lambda c: c.execute(LEFT).scalar_one()):
            await asyncio.sleep(0.02)
        return jobs / (time.perf_counter() - began)


async def _rate(settings: Any, jobs: int) -> float:
    app = build(settings)
    try:
        await app.athletes.connect("code-1", "read,activity:read_all")
        await app.database.write(lambda c: c.execute(text("DELETE FROM jobs")))
        return await noop_rate(app, jobs)
    finally:
        await app.close()


def main() -> None:
    plan = json.load(sys.stdin)
    configure_logging("ERROR", "plain", ())
    settings = settings_of(plan["env"])
    prepare_database(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in `feedzone work`
        json.dump(runner.run(_rate(settings, plan["jobs"])), sys.stdout)


if __name__ == "__main__":
    main()
