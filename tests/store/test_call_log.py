"""The call log is written in batches, kept for eight days, and names no disconnected athlete."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from store_makers import ACTIVITY, OTHER, OWNER

from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.quota.demand import IN_VAIN
from feedzone.domain.quota.windows import ApiCall, Reading
from feedzone.errors import StorageUnavailable
from feedzone.store.quota import call_log
from feedzone.store.quota.call_log import CallLog
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import call_counts
from feedzone.store.schema.tables import call_log as call_log_table

PURGE = PurgeAthlete(OWNER, "disconnected", "request", "the operator")


@pytest.fixture
def log(store, clock):
    return CallLog(store.database, clock)


@pytest.fixture
def call(clock):
    def make(**changes) -> ApiCall:
        plain = ApiCall(clock.now(), "live", OWNER, "GET activities/{id}", 200, 230, {}, counted=True)
        return msgspec.structs.replace(plain, **changes)

    return make


async def test_a_noted_call_is_stored_completely_by_the_flush(store, log, call, clock):
    usage = {"read_day": Reading(1000, 17), "read_15min": Reading(None, 3)}
    log.note(call(usage=usage))
    clock.advance(seconds=1)
    log.note(call(lane="none", athlete_id=None, status=None, counted=False))
    assert await store.rows(call_log_table) == []
    assert await log.flush() == 2
    first, second = await store.rows(call_log_table)
    assert (first.lane, first.athlete_id, first.endpoint) == ("live", OWNER, "GET activities/{id}")
    assert (first.status, first.ms, first.counted) == (200, 230, True)
    assert msgspec.json.decode(first.usage) == {
        "read_day": {"limit": 1000, "used": 17},
        "read_15min": {"limit": None, "used": 3},
    }
    assert (second.sent_at, second.status, second.usage) == (clock.now(), None, None)
    assert (second.lane, second.athlete_id, second.counted) == ("none", None, False)


async def test_without_noted_calls_a_flush_costs_no_transaction(log, store, call, monkeypatch):
    waiting = asyncio.create_task(log.noted())
    await asyncio.sleep(0)
    assert not waiting.done()
    log.note(call())
    await waiting
    assert await log.flush() == 1
    monkeypatch.setattr(store.database, "write", None)
    assert await log.flush() == 0
    waiting = asyncio.create_task(log.noted())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_database_that_does_not_answer_loses_no_call(store, log, call, monkeypatch):
    async def refuse(_body):
        raise StorageUnavailable("gone")

    log.note(call())
    with monkeypatch.context() as broken:
        broken.setattr(store.database, "write", refuse)
        with pytest.raises(StorageUnavailable):
            await log.flush()
    log.note(call())
    assert await log.flush() == 2
    assert len(await store.rows(call_log_table)) == 2


async def test_a_flush_that_was_cancelled_after_its_commit_writes_nothing_twice(
    store, log, call, monkeypatch
):
    write = store.database.write

    async def cancelled(body):
        await write(body)
        raise asyncio.CancelledError

    log.note(call())
    with monkeypatch.context() as broken:
        broken.setattr(store.database, "write", cancelled)
        with pytest.raises(asyncio.CancelledError):
            await log.flush()
    log.note(call())
    await log.flush()
    assert len(await store.rows(call_log_table)) == 2
    assert [row.calls for row in await store.rows(call_counts)] == [2]


async def test_a_call_that_is_noted_during_a_flush_is_written_by_the_next(store, log, call, monkeypatch):
    write = store.database.write

    async def meanwhile(body):
        log.note(call(lane="backfill"))
        return await write(body)

    log.note(call())
    with monkeypatch.context() as busy:
        busy.setattr(store.database, "write", meanwhile)
        assert await log.flush() == 1
    await asyncio.wait_for(log.noted(), 1)
    assert await log.flush() == 1
    assert [row.lane for row in await store.rows(call_log_table)] == ["live", "backfill"]


async def test_a_long_outage_of_the_database_drops_the_oldest_notes(store, log, call, monkeypatch):
    monkeypatch.setattr(call_log, "MOST_NOTED", 3)
    for ms in range(5):
        log.note(call(ms=ms))
    assert await log.flush() == 3
    assert [row.ms for row in await store.rows(call_log_table)] == [2, 3, 4]


async def test_calls_are_kept_for_eight_days_with_any_retention(store, log, call, clock):
    log.note(call())
    await log.flush()
    clock.advance(days=8)
    for days in (None, 1, 30):
        assert await Retention(store.database, clock, days).prune() == 0
    clock.advance(seconds=1)
    assert await Retention(store.database, clock, None).prune() == 1
    assert await store.rows(call_log_table) == []
    clock.advance(minutes=15)
    assert await Retention(store.database, clock, None).prune() == 1
    assert await store.rows(call_counts) == []


async def test_a_purge_keeps_the_calls_without_their_athlete(store, log, call):
    log.note(call())
    log.note(call(athlete_id=OTHER))
    await log.flush()
    await store.apply(PURGE)
    assert [row.athlete_id for row in await store.rows(call_log_table)] == [None, OTHER]


async def test_a_purge_keeps_the_calls_without_their_activity(store, log, call):
    log.note(call(activity_id=ACTIVITY))
    log.note(call(athlete_id=OTHER, activity_id=7))
    await log.flush()
    assert [row.activity_id for row in await store.rows(call_log_table)] == [ACTIVITY, 7]
    await store.apply(PURGE)
    log.note(call(activity_id=ACTIVITY))
    await log.flush()
    assert [row.activity_id for row in await store.rows(call_log_table)] == [None, 7, None]


async def test_a_call_that_is_written_after_the_purge_names_no_athlete(store, log, call, clock):
    log.note(call())
    log.note(call(athlete_id=404404))
    log.note(call(athlete_id=OTHER, sent_at=clock.now() + timedelta(seconds=1)))
    await store.apply(PURGE)
    await log.flush()
    assert [row.athlete_id for row in await store.rows(call_log_table)] == [None, None, OTHER]


async def test_live_calls_that_find_nothing_are_no_demand_of_their_lane(store, log, call, clock):
    for _ in range(2):
        for made in (call(), call(status=404), call(status=404, lane="backfill")):
            log.note(made)
        await log.flush()
    seen = await store.read(lambda c: call_log.counted(c, clock.now()))
    assert {row.lane: row.calls for row in seen.rows} == {"live": 2, IN_VAIN: 2, "backfill": 2}


async def test_the_athletes_with_most_calls_come_first(store, log, call, clock):
    for athlete in (OWNER, OTHER, OTHER):
        log.note(call(athlete_id=athlete))
    await log.flush()
    rows = await store.read(lambda c: call_log.spent_by_athlete(c, clock.now(), 2))
    assert [(row.athlete_id, row.calls) for row in rows] == [(OTHER, 2), (OWNER, 1)]
