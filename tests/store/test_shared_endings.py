"""Runs that end at the same time share a transaction, and each ends as it would alone."""

from __future__ import annotations

import asyncio

import pytest
from store_makers import OTHER, OWNER, Store, detail, event, fetched, spec, streams

from feedzone.domain.effect import StoreDetail
from feedzone.domain.outcome import Done, Retry, Snooze
from feedzone.errors import StorageUnavailable
from feedzone.store import effects
from feedzone.store.schema.tables import (
    activity_streams,
    jobs,
    strava_activities,
    strava_athletes,
    webhook_events,
)

IDS = range(1, 6)


@pytest.fixture
def transactions(store, monkeypatch):
    """Count the write transactions."""
    counted = []
    write = store.database.write

    async def counting(body, **options):
        counted.append(body)
        return await write(body, **options)

    monkeypatch.setattr(store.database, "write", counting)
    return counted


async def leased(store, ids=IDS, owner=OWNER):
    await store.deliver(*(event(object_id=number, owner_id=owner) for number in ids))
    return {job.object_id: job for job in await store.lease(len(ids))}


def done(job):
    record = detail(job.object_id, job.athlete_id)
    return Done((fetched(record), streams(activity_id=record.id, athlete_id=job.athlete_id, blob=b"x")))


async def test_runs_that_end_together_share_transactions(store, transactions):
    work = await leased(store)
    del transactions[:]
    ended = await asyncio.gather(*(store.queue.finish(job, done(job)) for job in work.values()))
    assert all(ended)
    assert len(transactions) == 1
    assert {row.sync_status for row in await store.rows(strava_activities)} == {"synced"}
    assert len(await store.rows(activity_streams)) == len(IDS)
    assert {row.status for row in await store.rows(webhook_events)} == {"completed"}
    assert await store.rows(jobs) == []


async def test_a_run_whose_effects_cannot_be_written_fails_alone(store, monkeypatch):
    work = await leased(store)
    genuine = effects.apply

    def broken(connection, batch, now):
        genuine(connection, batch, now)
        if any(isinstance(effect, StoreDetail) and effect.record.id == 4 for effect in batch):
            raise RuntimeError("cannot be written")

    monkeypatch.setattr(effects, "apply", broken)
    ended = await asyncio.gather(
        *(store.queue.finish(job, done(job)) for job in work.values()), return_exceptions=True
    )
    outcomes = dict(zip(work, ended, strict=True))
    assert isinstance(outcomes.pop(4), RuntimeError)
    assert set(outcomes.values()) == {True}
    assert [row.key for row in await store.rows(jobs)] == ["activity:4"]
    assert {row.id for row in await store.rows(strava_activities)} == set(IDS) - {4}


async def test_a_lost_lease_changes_nothing_for_its_run_alone(store, clock):
    work = await leased(store)
    await store.write(
        lambda c: c.execute(jobs.update().where(jobs.c.key == "activity:3").values(lease_owner="w/2"))
    )
    ended = await asyncio.gather(*(store.queue.finish(job, done(job)) for job in work.values()))
    assert dict(zip(work, ended, strict=True)) == {number: number != 3 for number in IDS}
    assert {row.id for row in await store.rows(strava_activities)} == set(IDS) - {3}
    assert (await store.row(jobs)).state == "running"


async def test_an_outage_is_told_to_every_run(store, monkeypatch):
    work = await leased(store)

    async def down(*_, **__):
        raise StorageUnavailable("no database")

    with monkeypatch.context() as patch:
        patch.setattr(store.database, "write", down)
        ended = await asyncio.gather(
            *(store.queue.finish(job, done(job)) for job in work.values()), return_exceptions=True
        )
    assert {type(each) for each in ended} == {StorageUnavailable}
    assert all(await asyncio.gather(*(store.queue.finish(job, done(job)) for job in work.values())))


async def test_different_endings_share_a_transaction(store, clock):
    work = list((await leased(store)).values())
    await store.deliver(event(object_id=work[0].object_id, aspect_type="delete", event_time=1516126099))
    later = clock.now().replace(year=2030)
    ended = await asyncio.gather(
        *(store.queue.finish(job, done(job)) for job in work[:3]),
        store.queue.finish(work[3], Retry("502 from Strava")),
        store.queue.finish(work[4], Snooze(later, "quota", wait_reason="quota")),
    )
    assert all(ended)
    rows = {row.key: row for row in await store.rows(jobs)}
    assert rows[work[0].key].state == "queued"  # overtaken by the delete
    assert work[1].key not in rows
    assert (rows[work[3].key].attempts, rows[work[3].key].wait_reason) == (1, "retry")
    assert (rows[work[4].key].due_at, rows[work[4].key].attempts) == (later, 0)


async def test_runs_of_one_activity_end_one_after_the_other(store):
    await store.apply(fetched(detail(7)))
    await store.enqueue(spec(7), spec(7, athlete_id=OTHER))
    first, second = await store.lease()

    def renamed(job, name):
        return store.queue.finish(job, Done((fetched(detail(7, job.athlete_id, name=name)),)))

    ended = await asyncio.gather(renamed(first, "First"), renamed(second, "Second"))
    assert ended == [True, True]
    assert (await store.row(strava_activities)).athlete_id == second.athlete_id
    names = [(row.old_value, row.new_value) for row in await store.edits() if row.field == "name"]
    assert names == [('"Morning Ride"', '"First"'), ('"First"', '"Second"')]


async def test_a_cancelled_caller_loses_nothing(store):
    (job,) = (await leased(store, [7])).values()
    task = asyncio.ensure_future(store.queue.finish(job, done(job)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other = await leased(store, [8])
    assert await store.queue.finish(other[8], done(other[8]))
    assert await store.rows(jobs) == []


async def test_groups_of_two_processes_that_cross_do_not_deadlock(postgres_store, second_postgres, clock):
    """Each group stores activities of both athletes."""
    here, there = postgres_store, Store.over(second_postgres, clock)
    for first in (100, 200, 300):
        ids = range(first, first + 8)
        await here.enqueue(*(spec(number, athlete_id=(OWNER, OTHER)[number % 2]) for number in ids))
        here_leased, there_leased = await here.lease(4, "a/1"), await there.lease(4, "b/1")
        endings = [here.queue.finish(job, done(job)) for job in here_leased]
        endings += [there.queue.finish(job, done(job)) for job in reversed(there_leased)]
        assert all(await asyncio.gather(*endings))
    assert {row.sync_status for row in await here.rows(strava_activities)} == {"synced"}
    assert all(row.last_synced_at for row in await here.rows(strava_athletes))
