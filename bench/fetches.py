"""Measure the whole way of an activity: from waiting jobs, or from events, to what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from feedzone.app import App, build, prepare_database
from feedzone.domain.job import JobSpec, Lane, RefreshHint
from feedzone.settings import Settings
from feedzone.store.engine.database import Database, open_database
from feedzone.store.jobs import lifecycle

from .databases import POSTGRES, SQLITE, Databases, path_of
from .load import NEW, Answers, send
from .peers.installed import PYTHON
from .processes import ROOT, Process, cpu_s, feedzone, feedzone_settings, free_port, running, wait_ready

WITHIN_S = 240.0
ATHLETES = 40
"""Athletes who are connected where many activities arrive at once."""

PRESENT = text("SELECT activity_id FROM activity_streams WHERE state = 'present'")
HOW_MANY = text("SELECT count(*) FROM activity_streams WHERE state = 'present'")
SIZE = """\
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname = 'public'"""


def settings_of(environment: dict[str, str]) -> Settings:
    """Return the same settings for this process."""
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    del values["pythonpath"]
    return Settings(_env_file=None, **values)


async def enqueue(app: App, numbers: range, athletes: int) -> None:
    """Let the fetches of these activities wait in the queue."""
    now = app.clock.now()
    specs = [
        JobSpec(
            "refresh_activity",
            f"activity:{NEW + number}",
            1 + (NEW + number) % athletes,
            RefreshHint(cause=f"event:{number}"),
            0,
            Lane.LIVE,
        )
        for number in numbers
    ]
    for start in range(0, len(specs), 500):
        part = specs[start : start + 500]
        await app.database.write(lambda c, part=part: lifecycle.enqueue(c, part, now))


async def _connect(settings: Settings, athletes: int, waiting: int) -> None:
    app = build(settings)
    try:
        for number in range(1, athletes + 1):
            await app.athletes.connect(f"code-{number}", "read,activity:read_all")
        await app.database.write(lambda c: c.execute(text("DELETE FROM jobs")))
        await enqueue(app, range(waiting), athletes)
    finally:
        await app.close()


@dataclass
class Fetching:
    """feedzone with connected athletes and a Strava that answers, before its processes start."""

    maker: Databases
    url: str
    port: int
    env: dict[str, str]
    database: Database

    def count(self) -> int:
        return int(self.database.run_sync(lambda c: c.execute(HOW_MANY).scalar_one()))

    def wait_for(self, number: int) -> float:
        """Wait until this many activities are stored; return the time."""
        end = time.monotonic() + WITHIN_S
        while (count := self.count()) < number:
            if time.monotonic() > end:
                raise SystemExit(f"{count} activities are stored after {WITHIN_S:.0f} s, not {number}")
            time.sleep(0.02)
        return time.perf_counter()

    @contextlib.contextmanager
    def processes(self, *arguments: str, number: int = 1) -> Iterator[list[Process]]:
        home = self.env["FEEDZONE_HOME"]
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(running(feedzone(*arguments), self.env, home)) for _ in range(number)]


@contextlib.contextmanager
def connected(
    maker: Databases, name: str, strava: int, *, athletes: int = 1, waiting: int = 0
) -> Iterator[Fetching]:
    """Connect athletes, and let the fetches of some activities wait."""
    url, port = maker.prepared(name), free_port()
    with tempfile.TemporaryDirectory() as home:
        env = feedzone_settings(url, home, port, strava)
        prepare_database(settings_of(env))
        asyncio.run(_connect(settings_of(env), athletes, waiting))
        database = open_database(url)
        yield Fetching(maker, url, port, env, database)
        asyncio.run(database.close())


@dataclass(frozen=True)
class Cost:
    """What one activity costs. `server_ms` is that of PostgreSQL."""

    rate: float
    cpu_ms: float
    server_ms: float
    stored_kb: float


def cost(maker: Databases, name: str, strava: int, activities: int) -> Cost:
    """Let `feedzone work` fetch activities whose jobs wait. The first ones are not counted."""
    warm_up = activities // 5
    with connected(maker, name, strava, waiting=activities + warm_up) as fetching:
        empty = stored_bytes(fetching.url)
        with fetching.processes("work") as (worker,):
            began = fetching.wait_for(warm_up)
            first, used, server = fetching.count(), cpu_s(worker), maker.server_cpu_s()
            ended = fetching.wait_for(activities + warm_up)
            number = activities + warm_up - first
            used, server = cpu_s(worker) - used, maker.server_cpu_s() - server
        size = (stored_bytes(fetching.url) - empty) / (activities + warm_up)
        return Cost(number / (ended - began), used * 1000 / number, server * 1000 / number, size / 1024)


def stored_bytes(url: str) -> int:
    """Return the size of all tables with their indexes."""
    if url.startswith(SQLITE):
        with contextlib.closing(sqlite3.connect(path_of(url))) as connection:
            connection.execute("VACUUM")
            pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
            return pages * int(connection.execute("PRAGMA page_size").fetchone()[0])
    import asyncpg

    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(SIZE))
        finally:
            await connection.close()

    return asyncio.run(ask())


def peer_cost(maker: Databases, name: str, strava: int, activities: int) -> Cost:
    """Let stravalib and SQLAlchemy fetch and store the same."""
    url, server = maker.new(name), maker.server_cpu_s()
    done = subprocess.run(
        [str(PYTHON), "-m", "bench.peers.stravalib_sqlalchemy", str(NEW), str(activities)],
        env={
            "DATABASE_URL": url,
            "STRAVA_PORT": str(strava),
            "PYTHONPATH": str(ROOT),
            "PATH": "",
            "SILENCE_TOKEN_WARNINGS": "true",
        },
        stdout=subprocess.PIPE,
        timeout=WITHIN_S,
        check=True,
    )
    figures = json.loads(done.stdout)
    used = (maker.server_cpu_s() - server) * 1000 / figures["stored"] if name == POSTGRES else 0.0
    return Cost(figures["rate"], figures["cpu_ms"], used, stored_bytes(url) / figures["stored"] / 1024)


def rate_of(maker: Databases, strava: int, processes: int, activities: int) -> float:
    """Return the activities that some worker processes store in a second, on PostgreSQL.

    The first tenth is not counted, because the processes start within it, nor the last one, in which some
    have nothing left to do.
    """
    with (
        connected(maker, POSTGRES, strava, athletes=ATHLETES, waiting=activities) as fetching,
        fetching.processes("work", number=processes),
    ):
        began = fetching.wait_for(activities // 10)
        first = fetching.count()
        ended = fetching.wait_for(activities * 9 // 10)
        return (fetching.count() - first) / (ended - began)


class Watcher(threading.Thread):
    """Note when each activity is stored, to 10 ms."""

    def __init__(self, fetching: Fetching) -> None:
        super().__init__(daemon=True)
        self._database, self._stopped = open_database(fetching.url), threading.Event()
        self.stored_at: dict[int, float] = {}

    def run(self) -> None:
        while not self._stopped.wait(0.01):
            numbers = self._database.run_sync(lambda c: c.execute(PRESENT).scalars().all())
            now = time.time()
            for number in numbers:
                self.stored_at.setdefault(number, now)

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        asyncio.run(self._database.close())


def event_to_stored(maker: Databases, name: str, strava: int, events: int, rate: float) -> list[float]:
    """Return the times from the intended send time of each event to its stored activity, sorted (seconds)."""
    athletes, warm_up = ATHLETES, 20
    with (
        connected(maker, name, strava, athletes=athletes) as fetching,
        fetching.processes("serve", "--port", str(fetching.port)) as (server,),
    ):
        wait_ready(fetching.port, server)
        send(fetching.port, "create", 0, warm_up, connections=1, athletes=athletes)
        fetching.wait_for(warm_up)
        watcher = Watcher(fetching)
        watcher.start()
        try:
            answers = send(fetching.port, "create", warm_up, events, rate=rate, athletes=athletes)
            fetching.wait_for(warm_up + events)
            time.sleep(0.2)
        finally:
            watcher.stop()
        sent = answers["sent_at"]
        return sorted(watcher.stored_at[NEW + warm_up + number] - sent[number] for number in range(events))


def busy_answers(maker: Databases, name: str, strava: int, events: int, rate: float) -> Answers:
    """Send at a constant rate to a `serve` whose worker fetches activities all the time."""
    athletes, waiting = ATHLETES, 3000
    with (
        connected(maker, name, strava, athletes=athletes, waiting=waiting) as fetching,
        fetching.processes("serve", "--port", str(fetching.port)) as (server,),
    ):
        wait_ready(fetching.port, server)
        fetching.wait_for(10)
        answers = send(
            fetching.port, "create", waiting, events, rate=rate, connections=128, athletes=athletes
        )
        stored = fetching.database.run_sync(
            lambda c: c.execute(text("SELECT count(*) FROM webhook_events")).scalar_one()
        )
        if stored != events:
            raise SystemExit(f"{stored} events are stored, not {events}")
        if fetching.count() >= waiting:
            raise SystemExit("the worker had nothing left to fetch")
        return answers
