"""Claim and finish no-op jobs with procrastinate or pgqueuer; print the jobs a second as JSON.

    DATABASE_URL=... python -m bench.peers.noop_jobs procrastinate|pgqueuer JOBS

It runs with the libraries in .bench/. Jobs wait already, so a worker starts, runs all of them, and ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from typing import Any

import asyncpg

URL = os.environ.get("DATABASE_URL", "")
AT_ONCE = 100
"""Jobs that procrastinate runs at a time, and that pgqueuer claims at a time: more is not faster."""


async def procrastinate_rate(jobs: int) -> float:
    import procrastinate

    logging.disable(logging.WARNING)

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL))

    @app.task(name="nothing")
    async def nothing(number: int) -> None:
        del number

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await nothing.batch_defer_async(*({"number": number} for number in range(jobs)))
        began = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=AT_ONCE, install_signal_handlers=False)
        took = time.perf_counter() - began
    done = await _count("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'")
    _check(done, jobs)
    return jobs / took


async def pgqueuer_rate(jobs: int) -> float:
    from pgqueuer import AsyncpgPoolDriver, PgQueuer
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    ran = set()
    async with asyncpg.create_pool(URL, min_size=4) as pool:
        driver = AsyncpgPoolDriver(pool)
        queries = Queries(driver)
        await queries.install()
        names, bodies = ["nothing"] * jobs, [b"%d" % number for number in range(jobs)]
        await queries.enqueue(names, bodies, [0] * jobs)
        app = PgQueuer(driver)

        @app.entrypoint("nothing")
        async def nothing(job: Any) -> None:
            ran.add(job.payload)

        began = time.perf_counter()
        await app.run(batch_size=AT_ONCE, mode=QueueExecutionMode.drain)
        took = time.perf_counter() - began
    _check(len(ran), jobs)
    _check(await _count("SELECT count(*) FROM pgqueuer"), 0)
    return jobs / took


async def _count(query: str) -> int:
    connection = await asyncpg.connect(URL)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


def _check(number: int, expected: int) -> None:
    if number != expected:
        sys.exit(f"{number} jobs, not {expected}")


if __name__ == "__main__":
    rate = {"procrastinate": procrastinate_rate, "pgqueuer": pgqueuer_rate}[sys.argv[1]]
    print(json.dumps(asyncio.run(rate(int(sys.argv[2])))))
