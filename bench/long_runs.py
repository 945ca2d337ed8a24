"""Measure what takes minutes: a door under load for a minute, a million waiting jobs, a million events."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from feedzone.store.engine.database import open_database

from .at_size import insert_rows
from .databases import Databases
from .ingest import NOBODY, Door, fill
from .load import ATHLETES
from .processes import feedzone, feedzone_settings, free_port, memory_mb, running, wait_ready

SETTLED_S = 10.0
"""Seconds after a start at which the memory is read."""


@dataclass(frozen=True)
class Sustained:
    """The rate, and the events without a job after a third of the time, and at the end."""

    rate: float
    backlog_early: int
    backlog_late: int


def sustained(door: Door, seconds: float, rate: float) -> Sustained:
    """Send over 64 connections for about so long; the rate says how many events that takes."""
    backlog: list[int] = []
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.5):
            backlog.append(door.count())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        answers = door.send("create", round(rate * seconds))
    finally:
        stopped.set()
        watcher.join()
    third = max(1, len(backlog) // 3)
    early, late = max(backlog[:third]), max(backlog[-third:])
    door.drain()
    return Sustained(len(answers["times_s"]) / answers["took_s"], early, late)


@dataclass(frozen=True)
class Start:
    """Seconds until a new process serves, and its memory a while later."""

    ready_s: float
    memory_mb: float


def start_with_jobs(maker: Databases, name: str, jobs: int) -> Start:
    """Start `serve` on a database with so many waiting jobs, and a twentieth of that as dead letters."""
    url, port = maker.prepared(name), free_port()
    database = open_database(url)
    database.run_sync(fill)
    now = datetime.now(UTC)
    count = jobs * 20 // 19 + 1
    database.run_sync(lambda c: insert_rows(c, "jobs", count, now, ATHLETES, count), answer_s=None)
    with tempfile.TemporaryDirectory() as home:
        env = feedzone_settings(url, home, port, NOBODY)
        began = time.perf_counter()
        with running(feedzone("serve", "--port", str(port)), env, home) as server:
            wait_ready(port, server)
            ready_s = time.perf_counter() - began
            time.sleep(SETTLED_S)
            used = memory_mb(server)
    asyncio.run(database.close())
    return Start(ready_s, used)


def memory_after(door: Door, events: int) -> tuple[float, float]:
    """Send so many events to `serve` with its worker; return its memory at half of them and at the end."""
    memory = []
    for _ in range(2):
        for _ in range(10):
            door.send("create", events // 20)
        door.drain()
        memory.append(memory_mb(door.door))
    return memory[0], memory[1]
