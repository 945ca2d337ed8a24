"""Measure a delivery that comes alone, beside one bare commit on the same database."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from .databases import SQLITE, path_of
from .ingest import Door

TURNS = 5
TABLE = "CREATE TABLE IF NOT EXISTS bare_commits (value text NOT NULL)"


@dataclass(frozen=True)
class Lone:
    """Medians in milliseconds."""

    event_ms: float
    commit_ms: float


def measure(door: Door, url: str, events: int) -> Lone:
    """Send events one after the other, in turns with bare commits, so that both meet the same disk."""
    commits = _sqlite if url.startswith(SQLITE) else _postgres
    times, bare = list[float](), list[float]()
    for _ in range(TURNS):
        times += door.send("create", events // TURNS, connections=1)["times_s"]
        door.drain()
        bare += commits(url, events // TURNS)
    return Lone(statistics.median(times) * 1000, statistics.median(bare) * 1000)


def _timed(number: int, commit: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(number):
        began = time.perf_counter()
        commit()
        times.append(time.perf_counter() - began)
    return times


def _sqlite(url: str, number: int) -> list[float]:
    connection = sqlite3.connect(path_of(url), isolation_level=None, timeout=30)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(TABLE)
        return _timed(number, lambda: connection.execute("INSERT INTO bare_commits VALUES ('an event')"))
    finally:
        connection.close()


def _postgres(url: str, number: int) -> list[float]:
    import asyncpg

    async def commits() -> list[float]:
        connection = await asyncpg.connect(url)
        await connection.execute(TABLE)
        statement = await connection.prepare("INSERT INTO bare_commits VALUES ('an event')")
        times = []
        for _ in range(number):
            began = time.perf_counter()
            await statement.fetch()
            times.append(time.perf_counter() - began)
        await connection.close()
        return times

    return asyncio.run(commits())
