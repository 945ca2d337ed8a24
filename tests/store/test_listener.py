"""A job of another process wakes this one at once, or at the next poll if the connection is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text
from store_makers import event, spec

from feedzone.ingest.deliveries import Delivery, accept
from feedzone.store.engine import listener
from feedzone.store.engine.listener import JobListener
from feedzone.store.jobs import lifecycle


class Bell:
    """A wakeup that tests can wait for."""

    def __init__(self) -> None:
        self.rung: asyncio.Queue[None] = asyncio.Queue()

    def notify(self) -> None:
        self.rung.put_nowait(None)

    async def wait(self, timeout: float = 5) -> bool:
        try:
            await asyncio.wait_for(self.rung.get(), timeout)
        except TimeoutError:
            return False
        return True


@pytest.fixture
async def bell(postgres_store):
    """A wakeup that rings when a job is enqueued. It has already rung once, when it began to listen."""
    bell = Bell()
    listening = JobListener(postgres_store.database.url, bell, Bell())
    await listening.start()
    assert await bell.wait()
    yield bell
    await listening.stop()
    await listening.stop()


async def test_a_job_of_another_process_wakes_this_one(bell, postgres_store, second_postgres, clock):
    now = clock.now()
    await second_postgres.write(lambda c: lifecycle.enqueue(c, [spec()], now))
    assert await bell.wait()


async def test_an_event_that_another_process_stored_wakes_the_dispatcher(
    postgres_store, second_postgres, clock
):
    arrivals, now = Bell(), clock.now()
    listening = JobListener(postgres_store.database.url, Bell(), arrivals)
    await listening.start()
    assert await arrivals.wait()  # it has begun to listen
    await second_postgres.write(lambda c: accept(c, [Delivery(event(), "absent")], now))
    assert await arrivals.wait()
    await listening.stop()


async def test_a_delivered_event_wakes_the_worker(bell, postgres_store):
    await postgres_store.deliver(event())
    assert await bell.wait()


async def test_the_wakeup_comes_after_the_commit_and_not_after_a_rollback(
    bell, postgres_store, second_postgres, clock
):
    now = clock.now()

    def enqueue(connection):
        lifecycle.enqueue(connection, [spec(1)], now)
        connection.rollback()
        lifecycle.enqueue(connection, [spec(2)], now)
        connection.exec_driver_sql("SELECT pg_sleep(0.1)")
        assert bell.rung.empty()

    await second_postgres.write(enqueue)
    assert await bell.wait()
    assert [job.object_id for job in await postgres_store.lease()] == [2]
    assert bell.rung.empty()


async def test_a_lost_connection_is_reopened_and_wakes_the_worker_for_missed_jobs(
    bell, postgres_store, monkeypatch
):
    monkeypatch.setattr(listener, "RECONNECT_S", 0.01)
    end = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
    )
    assert await postgres_store.read(lambda c: c.execute(end).scalar()) == 1
    assert await bell.wait()
    await postgres_store.enqueue(spec())
    assert await bell.wait()


async def test_a_listener_that_was_never_started_can_be_stopped(postgres_database):
    await JobListener(postgres_database.url, Bell(), Bell()).stop()


async def test_a_listener_survives_a_missing_database(postgres_database, monkeypatch):
    monkeypatch.setattr(listener, "RECONNECT_S", 0.001)
    bell = Bell()
    listening = JobListener(replace(postgres_database.url, database="not_there"), bell, Bell())
    await listening.start()
    assert not await bell.wait(0.05)
    await listening.stop()
