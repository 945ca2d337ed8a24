"""One of all processes runs the duties of the leader, and another one goes on when it ends."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from datetime import timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import text
from store_makers import Store

from clocks import ManualClock
from feedzone.clock import SystemClock
from feedzone.domain.ids import uuid7
from feedzone.errors import StorageUnavailable
from feedzone.store import duty_lease
from feedzone.store.duty_lease import BETWEEN_MACHINES, ON_ONE_MACHINE, Leader, SqlDutyLease
from feedzone.store.engine.database import Database
from feedzone.store.jobs.schedule import ReconciliationSchedule
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import call_log
from feedzone.worker.duties import DUTIES, duty_loop
from feedzone.worker.leadership import Leadership
from feedzone.worker.wakeup import LocalWakeup


class Process(NamedTuple):
    """A process as the lease sees it. Each has its own clock."""

    name: str
    clock: ManualClock
    lease: SqlDutyLease
    leadership: Leadership


def process(database: Database, name: str) -> Process:
    clock = ManualClock()
    lease = SqlDutyLease(database, clock, name)
    return Process(name, clock, lease, Leadership(lease, clock))


@pytest.fixture
def processes(database) -> list[Process]:
    return [process(database, f"host-{n}:1:ab") for n in range(3)]


async def advance(database: Database, processes: list[Process], seconds: float) -> None:
    """Let time pass, for the database as well: PostgreSQL's clock cannot be set, so its lease gets older."""
    for each in processes:
        each.clock.advance(seconds=seconds)
    if database.shares_work:
        older = text(f"UPDATE leases SET until = until - interval '{seconds} seconds'")
        await database.write(lambda c: c.execute(older))


async def leader(database: Database, clock: ManualClock) -> Leader | None:
    return await database.read(lambda c: duty_lease.current(c, clock.now()))


async def leading(processes: list[Process]) -> list[bool]:
    return [await each.leadership.run_once() for each in processes]


async def test_one_process_leads_as_long_as_it_renews(database, processes):
    assert await leading(processes) == [True, False, False]
    for _ in range(20):
        await advance(database, processes, 7.9)
        assert await leading(processes) == [True, False, False]
    found = await leader(database, processes[0].clock)
    assert (found.holder, found.is_over) == (processes[0].name, False)


async def test_another_process_takes_over_when_the_lease_of_a_dead_one_ends(database, processes):
    _, *others = processes
    lease_s = processes[0].lease.terms.lease_s
    assert await leading(processes) == [True, False, False]
    await advance(database, processes, lease_s - 1)
    assert await leading(others) == [False, False]
    await advance(database, processes, 1)
    assert await leading(others) == [True, False]
    assert (await leader(database, others[0].clock)).holder == others[0].name


def test_the_lease_is_so_short_that_a_dead_leader_is_replaced_within_ten_seconds():
    terms = BETWEEN_MACHINES
    assert terms.lease_s + terms.look_s < 10
    assert 2 * terms.renew_s < terms.lease_s
    assert 2 * ON_ONE_MACHINE.renew_s < ON_ONE_MACHINE.lease_s


async def test_processes_that_ask_at_once_get_one_leader(database, processes):
    for _ in range(5):
        results = await asyncio.gather(*(each.lease.acquire() for each in processes))
        assert sum(results) == 1
        await advance(database, processes, processes[0].lease.terms.lease_s)


async def test_a_clean_stop_hands_over_at_once(database, processes):
    first, second, _ = processes
    assert await leading([first, second]) == [True, False]
    await first.leadership.resign()
    assert not first.leadership.is_leader
    assert await leading([second, first]) == [True, False]
    await first.lease.release()  # it leads no more, so this takes nothing from the next leader
    assert await leading([first, second]) == [False, True]


async def test_a_paused_leader_knows_by_its_own_clock_that_it_leads_no_more(database, processes):
    paused, other, _ = processes
    assert await leading([paused, other]) == [True, False]
    await advance(database, processes, paused.lease.terms.lease_s)
    assert not paused.leadership.is_leader
    assert await leading([other]) == [True]
    assert await leading([paused, other]) == [False, True]


async def test_a_clock_that_was_set_back_prolongs_no_lease(processes):
    paused = processes[0]
    assert await leading([paused]) == [True]
    paused.clock.advance(hours=-1)
    assert not paused.leadership.is_leader


async def test_a_leader_whose_lease_ended_leads_again_if_nobody_else_came(database, processes):
    first = processes[0]
    assert await leading([first]) == [True]
    since = (await leader(database, first.clock)).since
    await advance(database, processes, 100)
    assert (await leader(database, first.clock)).is_over
    assert await leading([first]) == [True]
    assert (await leader(database, first.clock)).since > since


async def test_on_a_sqlite_file_the_successor_of_an_ended_process_does_not_wait(sqlite_database):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    dead, living = process(sqlite_database, f"{here}:{ended.pid}:ab"), process(sqlite_database, "other:1:ab")
    assert await leading([dead]) == [True]
    assert await leading([living]) == [True]
    alive = process(sqlite_database, f"{here}:{os.getppid()}:ab")
    assert await leading([alive]) == [False]


async def test_on_postgresql_clocks_that_differ_decide_nothing(postgres_database):
    ahead, behind = process(postgres_database, "ahead:1:ab"), process(postgres_database, "behind:1:ab")
    ahead.clock.advance(days=1)
    assert await leading([behind, ahead]) == [True, False]
    await behind.leadership.resign()
    assert await leading([ahead, behind]) == [True, False]


async def test_exactly_one_process_runs_the_duty_of_a_leader(database, processes):
    ran: list[str] = []
    turns = {each.name: asyncio.Event() for each in processes}

    def duty(name: str, each: Process):
        async def step() -> None:
            ran.append(f"{name} in {each.name}")

        return duty_loop(name, step, turns[each.name].wait, each.leadership)

    loops = [duty(name, each) for each in processes for name in ("scheduler", "rescuer")]
    assert await leading(processes) == [True, False, False]
    for loop in loops:
        loop.start()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    everywhere = [f"rescuer in {each.name}" for each in processes]
    assert sorted(ran) == sorted([f"scheduler in {processes[0].name}", *everywhere])
    await processes[0].leadership.resign()
    assert await leading(processes[1:]) == [True, False]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [line for line in ran if line.startswith("scheduler")] == [
        f"scheduler in {each.name}" for each in processes[:2]
    ]
    for loop in loops:
        await loop.stop()


async def test_duties_that_a_paused_leader_had_begun_do_nothing_twice(store: Store, clock):
    """It wakes and goes on beside the next leader."""
    clock.advance(hours=7)
    sent_at = clock.now() - timedelta(days=9)
    call = {"id": uuid7(0), "sent_at": sent_at, "lane": "live", "endpoint": "GET /athlete"}
    await store.write(lambda c: c.execute(call_log.insert(), call | {"ms": 1, "counted": True}))

    async def duties() -> tuple[int, int]:
        schedule = ReconciliationSchedule(store.database, clock, LocalWakeup(), random.Random(1), days=30)
        return await schedule.run(), await Retention(store.database, clock, 30).prune()

    did = await asyncio.gather(duties(), duties(), duties())
    assert [sum(counts) for counts in zip(*did, strict=True)] == [2, 1]


async def test_a_lease_that_cannot_be_released_runs_out(processes, monkeypatch):
    first = processes[0]
    assert await leading([first]) == [True]

    async def fails() -> None:
        raise StorageUnavailable("down")

    monkeypatch.setattr(first.lease, "release", fails)
    await first.leadership.resign()
    assert not first.leadership.is_leader


async def test_the_leader_renews_and_the_others_look(database):
    class Waiting(ManualClock):
        slept: list[float]

        async def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)

    made = []
    for name in ("one:1:ab", "two:1:ab"):
        clock = Waiting()
        clock.slept = []
        leadership = Leadership(SqlDutyLease(database, clock, name), clock)
        await leadership.run_once()
        await leadership.pause()
        made.append(clock.slept)
    terms = SqlDutyLease(database, SystemClock(), "x").terms
    assert made == [[terms.renew_s], [terms.look_s]]


def test_every_duty_says_where_it_runs_and_why():
    assert {name for name, duty in DUTIES.items() if duty.runs_in == "the leader"} == {
        "scheduler",
        "pruner",
        "subscription guard",
    }
    assert all(duty.why for duty in DUTIES.values())
