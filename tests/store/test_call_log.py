"""The journal of calls: written in batches, kept for eight days, and of who has left it keeps the counts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from store_makers import ACTIVITY, OTHER, OWNER

from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.quota.windows import ApiCall, Reading
from feedzone.errors import StorageUnavailable
from feedzone.store.quota import call_log
from feedzone.store.quota.call_log import CallLog
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import call_log as call_log_table

LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")


@pytest.fixture
def journal(store, clock):
    return CallLog(store.database, clock)


@pytest.fixture
def call(clock):
    def made(**changes) -> ApiCall:
        plain = ApiCall(clock.now(), "live", OWNER, "GET activities/{id}", 200, 230, {}, counted=True)
        return msgspec.structs.replace(plain, **changes)

    return made


async def test_what_was_noted_is_there_after_the_flush_word_for_word(store, journal, call, clock):
    usage = {"read_day": Reading(1000, 17), "read_15min": Reading(None, 3)}
    journal.note(call(usage=usage))
    clock.advance(seconds=1)
    journal.note(call(lane="none", athlete_id=None, status=None, counted=False))
    assert await store.rows(call_log_table) == []
    assert await journal.flush() == 2
    first, second = await store.rows(call_log_table)
    assert (first.lane, first.athlete_id, first.endpoint) == ("live", OWNER, "GET activities/{id}")
    assert (first.status, first.ms, first.counted) == (200, 230, True)
    assert msgspec.json.decode(first.usage) == {
        "read_day": {"limit": 1000, "used": 17},
        "read_15min": {"limit": None, "used": 3},
    }
    assert (second.sent_at, second.status, second.usage) == (clock.now(), None, None)
    assert (second.lane, second.athlete_id, second.counted) == ("none", None, False)


async def test_nothing_noted_costs_no_transaction_and_wakes_nobody(journal, store, call, monkeypatch):
    waiting = asyncio.create_task(journal.noted())
    await asyncio.sleep(0)
    assert not waiting.done()
    journal.note(call())
    await waiting
    assert await journal.flush() == 1
    monkeypatch.setattr(store.database, "write", None)
    assert await journal.flush() == 0
    waiting = asyncio.create_task(journal.noted())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_database_that_does_not_answer_loses_no_call(store, journal, call, monkeypatch):
    async def refuse(_body):
        raise StorageUnavailable("gone")

    journal.note(call())
    with monkeypatch.context() as broken:
        broken.setattr(store.database, "write", refuse)
        with pytest.raises(StorageUnavailable):
            await journal.flush()
    journal.note(call())
    assert await journal.flush() == 2
    assert len(await store.rows(call_log_table)) == 2


async def test_a_flush_that_was_cancelled_after_its_commit_writes_nothing_twice(
    store, journal, call, monkeypatch
):
    write = store.database.write

    async def cancelled(body):
        await write(body)
        raise asyncio.CancelledError

    journal.note(call())
    with monkeypatch.context() as broken:
        broken.setattr(store.database, "write", cancelled)
        with pytest.raises(asyncio.CancelledError):
            await journal.flush()
    await journal.flush()
    assert len(await store.rows(call_log_table)) == 1


async def test_what_is_noted_during_a_flush_is_written_by_the_next(store, journal, call, monkeypatch):
    write = store.database.write

    async def meanwhile(body):
        journal.note(call(lane="backfill"))
        return await write(body)

    journal.note(call())
    with monkeypatch.context() as busy:
        busy.setattr(store.database, "write", meanwhile)
        assert await journal.flush() == 1
    await asyncio.wait_for(journal.noted(), 1)
    assert await journal.flush() == 1
    assert [row.lane for row in await store.rows(call_log_table)] == ["live", "backfill"]


async def test_a_database_that_is_gone_for_long_costs_the_oldest_notes_and_no_memory(
    store, journal, call, monkeypatch
):
    monkeypatch.setattr(call_log, "MOST_NOTED", 3)
    for ms in range(5):
        journal.note(call(ms=ms))
    assert await journal.flush() == 3
    assert [row.ms for row in await store.rows(call_log_table)] == [2, 3, 4]


async def test_calls_are_kept_for_eight_days_whatever_else_is_kept(store, journal, call, clock):
    journal.note(call())
    await journal.flush()
    clock.advance(days=8)
    for days in (None, 1, 30):
        assert await Retention(store.database, clock, days).prune() == 0
    clock.advance(seconds=1)
    assert await Retention(store.database, clock, None).prune() == 1
    assert await store.rows(call_log_table) == []


async def test_of_who_leaves_the_calls_stay_and_not_for_whom_they_were(store, journal, call):
    journal.note(call())
    journal.note(call(athlete_id=OTHER))
    await journal.flush()
    await store.apply(LEFT)
    assert [row.athlete_id for row in await store.rows(call_log_table)] == [None, OTHER]


async def test_of_who_leaves_no_call_says_which_activity_it_was_for(store, journal, call):
    journal.note(call(activity_id=ACTIVITY))
    journal.note(call(athlete_id=OTHER, activity_id=7))
    await journal.flush()
    assert [row.activity_id for row in await store.rows(call_log_table)] == [ACTIVITY, 7]
    await store.apply(LEFT)
    journal.note(call(activity_id=ACTIVITY))
    await journal.flush()
    assert [row.activity_id for row in await store.rows(call_log_table)] == [None, 7, None]


async def test_a_call_that_is_written_after_its_athlete_has_left_names_nobody(store, journal, call, clock):
    journal.note(call())
    journal.note(call(athlete_id=404404))
    journal.note(call(athlete_id=OTHER, sent_at=clock.now() + timedelta(seconds=1)))
    await store.apply(LEFT)
    await journal.flush()
    assert [row.athlete_id for row in await store.rows(call_log_table)] == [None, None, OTHER]
