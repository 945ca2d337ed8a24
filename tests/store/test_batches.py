"""What touches many rows works in small transactions, so that deliveries never wait long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert
from store_makers import OWNER, Measured, connecting, event, retitled, spec, summary

from feedzone.domain.effect import StorePage
from feedzone.domain.ids import uuid7
from feedzone.domain.outcome import Discard, Snooze
from feedzone.services.dead_letters import DeadLetterService
from feedzone.store import athletes, batches
from feedzone.store.engine.database import Database
from feedzone.store.quota.breaker import Breaker
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import jobs, token_uses
from feedzone.worker.wakeup import LocalWakeup

A_JOB = 5
"""The most rows that belong to one: a job, its event, its attempt, its activity, its athlete."""


class Counting:
    """A database that counts its writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.writes = 0

    def __getattr__(self, name):
        return getattr(self._database, name)

    async def write(self, body, **options):
        self.writes += 1
        return await self._database.write(body, **options)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(batches, "AT_ONCE", 3)


async def test_the_first_prune_of_many_rows_takes_many_transactions(store, clock):
    old, now = clock.now(), int(clock.now().timestamp() * 1000)
    uses = [
        {
            "id": uuid7(now),
            "athlete_id": OWNER,
            "used_at": old,
            "purpose": "refresh",
            "generation": 1,
            "outcome": "ok",
        }
        for _ in range(10)
    ]
    await store.write(lambda c: c.execute(insert(token_uses), uses))
    clock.advance(days=31)
    counting = Counting(store.database)
    assert await Retention(counting, clock, 30).prune() == 10
    assert await store.rows(token_uses) == []
    assert counting.writes >= 4


async def test_each_row_is_visited_once_also_if_it_goes_on_to_match(store):
    await store.enqueue(*(spec(number) for number in range(1, 11)))
    visited: list[str] = []

    def visit(_connection, ids) -> int:
        visited.extend(ids)
        return len(ids)

    assert await batches.change_in_batches(store.database, jobs, jobs.c.state == "queued", visit) == 10
    assert visited == [row.id for row in await store.rows(jobs)]


async def test_a_row_that_stops_matching_before_its_turn_stays_as_it_is(store):
    class Meanwhile(Counting):
        async def write(self, body, **options):
            await store.lease(1)
            return await super().write(body, **options)

    await store.enqueue(*(spec(number) for number in range(1, 4)))
    waits = jobs.c.state == "queued"
    assert await batches.update_in_batches(Meanwhile(store.database), jobs, waits, last_error="x") == 2
    assert [row.last_error for row in await store.rows(jobs)] == [None, "x", "x"]
    assert await batches.delete_in_batches(Meanwhile(store.database), jobs, waits) == 1
    assert [row.state for row in await store.rows(jobs)] == ["running", "running"]


async def test_retry_all_takes_many_transactions_and_retries_each_dead_letter_once(store, clock):
    for number in range(1, 11):
        await store.deliver(event(object_id=number))
        await store.run(Discard("500"))
    counting = Counting(store.database)
    assert await DeadLetterService(counting, clock, LocalWakeup(), LocalWakeup()).retry_all() == 10
    assert {row.state for row in await store.rows(jobs)} == {"queued"}
    assert counting.writes == 4


async def test_a_dead_letter_with_a_live_job_does_not_stop_the_others(store, clock):
    for number in range(1, 8):
        await store.deliver(event(object_id=number))
        await store.run(Discard("500"))
    await store.deliver(event(object_id=1, event_time=event().event_time + 9))
    assert await DeadLetterService(store.database, clock, LocalWakeup(), LocalWakeup()).retry_all() == 7


async def crowd(store, clock) -> None:
    """Dead letters, waiting jobs, old events, summaries and athletes: ten of each."""
    await store.write(lambda c: athletes.set_wanted_sports(c, OWNER, frozenset({"Run"}), clock.now()))
    for number in range(1, 11):
        await store.enqueue(spec(number))
        await store.run(Discard("401", kind="token_rejected"))
        await store.enqueue(spec(100 + number))
        await store.run(Snooze(clock.now() + timedelta(hours=1), "x", wait_reason="no_answer"))
    for number in range(1, 11):
        await store.connect(1000 + number)
        await store.deliver(retitled("Canary", owner_id=1000 + number, object_id=300 + number))
        await store.apply(StorePage(OWNER, (summary(200 + number),), (spec(200 + number),)))


async def lost_deliveries(database, clock):
    await athletes.note_lost_deliveries(database, None, clock.now())


async def found_an_answer(database, clock):
    await Breaker(database, clock).fail("x")
    await Breaker(database, clock).close()


async def reconnected(database, clock):
    await connecting(database, clock).connect("code", "read,activity:read")


async def chose_sports(database, clock):
    await connecting(database, clock).keep_sports(OWNER, ["GravelRide"])


async def grew_old(database, clock):
    clock.advance(days=31)
    await Retention(database, clock, 30).prune()


CROWDS = (lost_deliveries, found_an_answer, reconnected, chose_sports, grew_old)


@pytest.mark.parametrize("work", CROWDS, ids=lambda work: work.__name__)
async def test_no_transaction_changes_the_rows_of_a_crowd(store, clock, work):
    await crowd(store, clock)
    measured = Measured(store.database)
    await work(measured, clock)
    assert sum(measured.rows) >= 10
    assert max(measured.rows) <= 3 * A_JOB
