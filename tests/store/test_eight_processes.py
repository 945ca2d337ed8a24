"""Guarantee 4 with real processes: eight of them reserve calls at once and never overspend together."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest

from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.domain.quota.windows import WINDOWS, Reading, Reservation
from feedzone.store.engine.sqlite import SqliteDatabase
from feedzone.store.quota.budget import BudgetTable

PROCESSES = 8
CALLER = """
import asyncio, random, sys
from datetime import datetime
from feedzone.clock import StravaClock
from feedzone.domain.job import Lane
from feedzone.errors import QuotaSpent, StorageUnavailable
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.engine.database import open_database

url, now, seed, asks = sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)

class Standing:
    def now(self):
        return now
    async def sleep(self, seconds):
        await asyncio.sleep(seconds / 10)

async def call(budget, made):
    try:
        leave = await budget.reserve(rng.choice(list(Lane)))
    except QuotaSpent:
        return
    await asyncio.sleep(rng.uniform(0, 0.005))
    if rng.random() < 0.2:
        await budget.release(leave)
        return
    made.append(1)
    await budget.answered(leave, {})

async def main():
    database = open_database(url)
    budget, made = BudgetTable(database, StravaClock(Standing())), []
    for _ in range(asks // 5):
        await asyncio.gather(*(call(budget, made) for _ in range(5)))
    await database.close()
    print(len(made))

asyncio.run(main())
"""


@pytest.mark.timeout(180)
async def test_eight_processes_together_spend_exactly_the_quota(database, clock, request):
    rng = random.Random(1)
    is_file = isinstance(database, SqliteDatabase)
    url = f"sqlite:///{database.path}" if is_file else request.getfixturevalue("migrated_postgres")
    budget = BudgetTable(database, StravaClock(clock))
    quota = {name: rng.randrange(30, 90) for name in WINDOWS}
    await budget.answered(Reservation(), {name: Reading(limit, 0) for name, limit in quota.items()})
    commands = [
        [sys.executable, "-c", CALLER, url, clock.now().isoformat(), str(n), "30"] for n in range(PROCESSES)
    ]
    callers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [await asyncio.to_thread(caller.communicate) for caller in callers]
    assert {caller.returncode for caller in callers} == {0}
    made = sum(int(out) for out, _ in outputs)
    used = {window.name: window.used for window in await budget.windows()}
    assert set(used.values()) == {made}  # each call was counted once, in every window
    assert 0 < made <= min(quota.values())
    left = min(quota.values()) - made
    for _ in range(left):
        await budget.answered(await budget.reserve(Lane.LIVE), {})
    assert {window.used for window in await budget.windows()} == {min(quota.values())}
