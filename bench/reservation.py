"""Measure the reservation of a call on both databases: alone, and with ten callers at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from feedzone.clock import StravaClock, SystemClock
from feedzone.domain.job import Lane
from feedzone.domain.quota.windows import WINDOWS, Reading, Reservation
from feedzone.store.engine.database import Database, open_database
from feedzone.store.quota.budget import BudgetTable

from .databases import BOTH, databases

ROUNDS = 1500
CALLERS = 10
AMPLE = {name: Reading(10**9, 0) for name in WINDOWS}


async def _timed(calls: int, body: Callable[[], Awaitable[object]]) -> list[float]:
    durations_ms = []
    for _ in range(calls):
        start = time.perf_counter()
        await body()
        durations_ms.append((time.perf_counter() - start) * 1000)
    return durations_ms


async def _bench(name: str, database: Database) -> None:
    budget = BudgetTable(database, StravaClock(SystemClock()))
    await budget.answered(Reservation(), AMPLE)
    await budget.answered(await budget.reserve(Lane.LIVE), {})

    async def reserve() -> None:
        await budget.reserve(Lane.BACKFILL)

    async def empty_transaction() -> None:
        await database.write(lambda c: c.exec_driver_sql("SELECT 1").scalar(), durable=False)

    empty_ms = statistics.median(await _timed(ROUNDS, empty_transaction))
    alone = sorted(await _timed(ROUNDS, reserve))
    start = time.perf_counter()
    await asyncio.gather(*(_timed(ROUNDS // CALLERS, reserve) for _ in range(CALLERS)))
    together = (time.perf_counter() - start) * 1000 / ROUNDS
    median = statistics.median(alone)
    print(
        f"{name:10}: median {median:.2f} ms, 90 % within {alone[ROUNDS * 9 // 10]:.2f} ms; "
        f"{median / empty_ms:.1f} times an empty transaction; "
        f"{CALLERS} callers at once: {together:.2f} ms each"
    )


async def _both(urls: dict[str, str]) -> None:
    for name, url in urls.items():
        database = open_database(url)
        await _bench(name, database)
        await database.close()


def main() -> None:
    with databases() as maker:
        asyncio.run(_both({name: maker.prepared(name) for name in BOTH}))


if __name__ == "__main__":
    main()
