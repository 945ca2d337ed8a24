"""Jobs run again when their worker stops or dies, and stay leased while it works."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from store_makers import event, spec

from feedzone.domain.outcome import Done
from feedzone.store.jobs.queue import process_is_gone, worker_name
from feedzone.store.schema.tables import jobs, webhook_events


def ended_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


async def test_only_leases_of_the_named_owners_are_renewed(store, clock):
    await store.enqueue(spec(1), spec(2), spec(3))
    await store.lease(limit=1, owner="mine/1", seconds=30)
    await store.lease(limit=1, owner="mine/2", seconds=30)
    await store.lease(limit=1, owner="mine/3", seconds=30)
    clock.advance(seconds=20)
    assert await store.queue.renew(["mine/1", "mine/2", "mine/99"], 30) == 2
    clock.advance(seconds=20)
    assert await store.queue.rescue() == 1
    assert (await store.lease_one()).object_id == 3


async def test_a_lost_lease_is_not_renewed(store, clock):
    await store.enqueue(spec())
    await store.lease_one(owner="mine/1")
    clock.advance(minutes=2)
    await store.queue.rescue()
    assert await store.queue.renew(["mine/1"], 60) == 0
    await store.lease_one(owner="other/1")
    assert await store.queue.renew([], 60) == 0
    assert (await store.row(jobs)).lease_owner == "other/1"


@pytest.mark.parametrize("name", ["w_rker", "w%", "w\\"])
async def test_a_workers_name_is_not_used_as_a_pattern(store, name):
    await store.enqueue(spec())
    await store.lease_one(owner="worker/1")
    assert await store.queue.release(name) == 0


async def test_a_worker_that_stops_returns_its_jobs_at_once(store):
    await store.deliver(event())
    job = await store.lease_one(owner="mine/1")
    assert await store.queue.release("mine") == 1
    assert await store.queue.finish(job, Done()) is False
    assert (await store.lease_one(owner="other/1")).id == job.id


async def test_a_returned_job_is_as_if_it_had_never_been_leased(store):
    await store.deliver(event())
    before = await store.row(jobs), await store.row(webhook_events)
    await store.lease_one(owner="mine/1")
    await store.queue.release("mine")
    assert (await store.row(jobs), await store.row(webhook_events)) == before


async def test_stopping_twice_or_without_jobs_is_harmless(store):
    assert await store.queue.release("mine") == 0
    await store.enqueue(spec())
    await store.lease_one(owner="other/1")
    assert await store.queue.release("mine") == 0
    assert (await store.row(jobs)).lease_owner == "other/1"


async def test_a_dead_workers_job_runs_again_when_its_lease_expires(store, clock):
    await store.deliver(event())
    job = await store.lease_one(owner="elsewhere:1:x/1")
    clock.advance(seconds=59)
    assert await store.queue.rescue() == 0
    clock.advance(seconds=1)
    assert await store.queue.rescue() == 1
    assert (await store.row(webhook_events)).status == "pending"
    again = await store.lease_one()
    assert (again.id, again.attempts) == (job.id, 0)


async def test_on_a_sqlite_file_a_job_of_an_ended_process_runs_again_at_once(sqlite_database, clock):
    from store_makers import Store

    store = Store.over(sqlite_database, clock)
    await store.enqueue(spec(1), spec(2))
    await store.lease(limit=1, owner=f"{socket.gethostname()}:{ended_process()}:ab/1")
    await store.lease(limit=1, owner=f"{worker_name()}/1")
    assert await store.queue.rescue() == 1
    assert (await store.lease_one()).object_id == 1


async def test_on_a_shared_database_only_the_lease_decides(postgres_store):
    await postgres_store.enqueue(spec())
    await postgres_store.lease_one(owner=f"{socket.gethostname()}:{ended_process()}:ab/1")
    assert await postgres_store.queue.rescue() == 0


def test_a_process_is_gone_only_if_it_ran_on_this_machine_and_has_ended():
    here = socket.gethostname()
    assert process_is_gone(f"{here}:{ended_process()}:ab/1")
    assert not process_is_gone(f"{here}:{os.getpid()}:ab/1")
    assert not process_is_gone(f"elsewhere:{ended_process()}:ab/1")
    assert not process_is_gone(f"{worker_name()}/3")
    for strange in ("", here, f"{here}:", f"{here}:x:ab/1", f"{here}::"):
        assert not process_is_gone(strange)


def test_no_two_workers_have_the_same_name():
    assert len({worker_name() for _ in range(100)}) == 100
