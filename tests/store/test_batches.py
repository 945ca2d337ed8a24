"""What touches many rows works in small transactions, so that deliveries never wait long."""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from store_makers import OWNER, event

from feedzone.domain.ids import uuid7
from feedzone.domain.outcome import Discard
from feedzone.services.dead_letters import DeadLetterService
from feedzone.store import batches
from feedzone.store.engine.database import Database
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import jobs, token_uses
from feedzone.worker.wakeup import LocalWakeup


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
