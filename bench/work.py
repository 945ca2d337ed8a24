"""Measure the worker alone: no-op jobs, and activities whose jobs wait already.

    python -m bench.work [JOBS] [ACTIVITIES] [sqlite|postgresql]

Print, for each database, the no-op jobs that one process claims and finishes in a second, and per activity:
CPU of the worker's process and of the PostgreSQL server (ms), transactions and statements.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

import uvloop
from sqlalchemy import event
from sqlalchemy.engine import Engine

from feedzone.app import App, build, working
from feedzone.telemetry import configure_logging

from .databases import BOTH, Databases, databases
from .fetches import HOW_MANY, connected, enqueue, settings_of
from .noop_jobs import noop_rate
from .stand_in import strava

COUNTED = Counter[str]()


@event.listens_for(Engine, "before_cursor_execute")
def _count(_c: Any, _cursor: Any, _statement: str, _p: Any, _context: Any, _many: bool) -> None:
    COUNTED["statements"] += 1


async def stored(app: App, number: int) -> None:
    """Wait until this many activities have their streams."""
    while await app.database.read(lambda c: c.execute(HOW_MANY).scalar_one()) != number:
        await asyncio.sleep(0.05)


class Cost(NamedTuple):
    rate: float
    worker_ms: float
    server_ms: float
    transactions: float
    statements: float


async def activities(app: App, number: int, first: int, maker: Databases) -> Cost:
    """Fetch activities whose jobs wait already; return what one costs."""
    await enqueue(app, range(first, first + number), 1)
    transactions = Counter[str]()
    app.database.read = _counted(app.database.read, transactions)  # type: ignore[method-assign]
    app.database.write = _counted(app.database.write, transactions)  # type: ignore[method-assign]
    COUNTED.clear()
    cpu, server, began = time.process_time(), maker.server_cpu_s(), time.perf_counter()
    async with working(app):
        await stored(app, first + number)
        elapsed = time.perf_counter() - began
    used, at_server = (time.process_time() - cpu) * 1000, (maker.server_cpu_s() - server) * 1000
    counts = transactions.total(), COUNTED["statements"]
    return Cost(number / elapsed, used / number, at_server / number, *(each / number for each in counts))


def _counted(function: Any, counts: Counter[str]) -> Any:
    async def run(body: Any, **options: Any) -> Any:
        counts[function.__name__] += 1
        return await function(body, **options)

    return run


async def measure(name: str, maker: Databases, settings: Any, jobs: int, number: int) -> None:
    app = build(settings)
    rate = await noop_rate(app, jobs)
    print(f"{name}: {rate:.0f} no-op jobs/s")
    await app.close()
    app = build(settings)
    await activities(app, 20, 0, maker)  # warm up
    await app.close()
    app = build(settings)
    cost = await activities(app, number, 20, maker)
    await app.close()
    print(
        f"{name}: {cost.rate:.0f} activities/s; each {cost.worker_ms:.1f} ms CPU in the worker, "
        f"{cost.server_ms:.1f} ms in the server, {cost.transactions:.1f} transactions, "
        f"{cost.statements:.1f} statements"
    )


def main(jobs: int = 2000, number: int = 200, only: str | None = None) -> None:
    """Measure both databases and print the figures."""
    configure_logging("WARNING", "plain", ())
    names = [only] if only else BOTH
    with databases(names) as maker, strava() as port:
        for name in names:
            with (
                connected(maker, name, port) as fetching,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,  # as in `feedzone work`
            ):
                runner.run(measure(name, maker, settings_of(fetching.env), jobs, number))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
