"""RETENTION_DAYS deletes old finished rows; waiting work and deletion receipts stay."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from store_makers import ACTIVITY, OTHER, OWNER, detail, event, fetched

from feedzone.domain.effect import OpenConflict, PurgeAthlete, RecordRejectedClaim, StoreReconciliation
from feedzone.domain.ids import uuid7
from feedzone.domain.outcome import Discard, Done
from feedzone.store.reconciliations import resolve
from feedzone.store.retention import EventDays, Retention
from feedzone.store.schema.tables import (
    call_log,
    conflicts,
    deletion_receipts,
    job_attempts,
    jobs,
    reconciliations,
    rejected_claims,
    strava_activities,
    webhook_events,
)


async def prune(store, days=30):
    return await Retention(store.database, store.clock, days).prune()


async def test_finished_events_are_deleted_after_the_retention_time_and_not_before(store, clock):
    await store.deliver(event(), event(owner_id=404))
    await store.run(Done())
    clock.advance(days=30)
    assert await prune(store) == 0
    clock.advance(seconds=1)
    assert await prune(store) == 2
    assert await store.rows(webhook_events) == []


async def test_failed_events_and_dead_letters_are_deleted_and_waiting_work_stays(store, clock):
    await store.deliver(event())
    await store.run(Discard("500"))
    clock.advance(days=20)
    await store.deliver(event(object_id=5))
    clock.advance(days=10)
    assert await prune(store) == 0
    clock.advance(seconds=1)
    assert await prune(store) == 3  # the event, its job, and the attempt
    assert await store.rows(job_attempts) == []
    clock.advance(days=3000)
    assert await prune(store) == 0
    assert [row.status for row in await store.rows(webhook_events)] == ["pending"]
    assert [row.state for row in await store.rows(jobs)] == ["queued"]


async def test_events_grow_old_by_default_failed_ones_later_and_open_ones_never(store, clock):
    await store.deliver(event(), event(object_type="segment"))
    await store.run(Done())
    await store.deliver(event(object_id=5))
    await store.run(Discard("500"))
    await store.deliver(event(object_id=6))
    retention = Retention(store.database, clock, None, EventDays(30, 90))

    async def left() -> list[str]:
        await retention.prune()
        return sorted(row.status for row in await store.rows(webhook_events))

    clock.advance(days=30)
    assert await left() == ["completed", "failed", "ignored", "pending"]
    clock.advance(seconds=1)
    assert await left() == ["failed", "pending"]
    clock.advance(days=60, seconds=-1)
    assert await left() == ["failed", "pending"]
    clock.advance(seconds=1)
    assert await left() == ["pending"]
    assert "dead" in [row.state for row in await store.rows(jobs)]


async def test_rejected_claims_and_decided_conflicts_are_deleted(store, clock):
    await store.apply(RecordRejectedClaim("event:x", "delete"), OpenConflict(OWNER, (1, 2), 9))
    clock.advance(days=31)
    await prune(store)
    assert await store.rows(rejected_claims) == []
    (conflict,) = await store.rows(conflicts)
    await store.write(lambda c: resolve(c, conflict.id, "dismissed", clock.now()))
    clock.advance(days=31)
    await prune(store)
    assert await store.rows(conflicts) == []


async def test_the_audit_trail_is_deleted_and_the_activity_stays(store, clock):
    await store.apply(fetched(detail()))
    await store.apply(fetched(detail(name="New")))
    clock.advance(days=31)
    await store.apply(fetched(detail(name="Newest")))
    assert await prune(store) == 2  # that it came, and its first edit
    assert len(await store.edits()) == 1
    assert (await store.row(strava_activities)).id == ACTIVITY


async def test_results_of_reconciliations_are_deleted(store, clock):
    """There are four a day per athlete, and 96 without a webhook."""
    await store.apply(StoreReconciliation(OWNER, True, (), ()))
    clock.advance(days=31)
    await store.apply(StoreReconciliation(OWNER, True, (), ()))
    assert await prune(store) == 1
    assert (await store.row(reconciliations)).ended_at == clock.now()


async def test_deletion_receipts_are_never_deleted(store, clock):
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    await store.apply(fetched(detail(5, OTHER)))
    clock.advance(days=3000)
    await prune(store)
    assert len(await store.rows(deletion_receipts)) == 1
    assert len(await store.rows(strava_activities)) == 1


async def test_many_old_calls_of_one_moment_are_deleted_and_counted(store, clock):
    old, young = clock.now() - timedelta(days=9), clock.now() - timedelta(days=7)
    call = {"lane": "live", "endpoint": "GET /athlete", "ms": 1, "counted": True}
    rows = [call | {"id": uuid7(n), "sent_at": old if n % 2 else young} for n in range(500)]
    await store.write(lambda c: c.execute(call_log.insert(), rows))
    assert await prune(store, None) == 250
    left = await store.database.read(
        lambda c: c.execute(select(call_log.c.sent_at).distinct()).scalars().all()
    )
    assert left == [young]
