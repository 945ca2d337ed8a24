"""What one athlete may spend in an hour, shared by all processes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from store_makers import OTHER, OWNER, Store

from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.quota.windows import ApiCall
from feedzone.errors import AllowanceSpent
from feedzone.store import purge
from feedzone.store.quota import allowances
from feedzone.store.quota.call_log import CallLog
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import athlete_allowances


async def spend(store: Store, calls: int, athlete: int = OWNER) -> None:
    now = store.clock.now()
    await store.write(lambda c: allowances.spend(c, athlete, calls, 30, now))


async def rows(store: Store) -> dict[int, int]:
    return {row.athlete_id: row.calls for row in await store.rows(athlete_allowances)}


async def test_calls_add_up_to_the_limit_and_a_refused_request_costs_nothing(store: Store) -> None:
    for _ in range(3):
        await spend(store, 10)
    with pytest.raises(AllowanceSpent) as refused:
        await spend(store, 1)
    assert (refused.value.spent, refused.value.limit) == (30, 30)
    assert refused.value.until == store.clock.now() + timedelta(hours=1)
    await spend(store, 1, OTHER)
    assert await rows(store) == {OWNER: 30, OTHER: 1}


async def test_an_hour_after_its_first_request_the_allowance_is_renewed(store: Store, clock) -> None:
    await spend(store, 30)
    clock.advance(minutes=59, seconds=59)
    with pytest.raises(AllowanceSpent):
        await spend(store, 1)
    clock.advance(seconds=1)
    await spend(store, 30)
    assert await rows(store) == {OWNER: 30}


async def test_the_list_of_a_long_history_is_allowed_once(store: Store) -> None:
    await spend(store, 40)
    with pytest.raises(AllowanceSpent):
        await spend(store, 1)


async def test_simultaneous_requests_cannot_exceed_the_limit(store: Store) -> None:
    results = await asyncio.gather(*(spend(store, 7) for _ in range(12)), return_exceptions=True)
    assert results.count(None) == 4
    assert await rows(store) == {OWNER: 28}


async def test_to_leave_and_come_back_does_not_renew_it(store: Store, clock) -> None:
    await store.connect(OWNER)
    log, now = CallLog(store.database, clock), clock.now()
    for lane, calls in (("backfill", 41), ("live", 5)):
        for _ in range(calls):
            log.note(
                ApiCall(
                    sent_at=now,
                    lane=lane,
                    athlete_id=OWNER,
                    endpoint="GET activities/{id}",
                    status=200,
                    ms=1,
                    usage=None,
                    counted=True,
                )
            )
    await log.flush()
    effect = PurgeAthlete(OWNER, "disconnected", "request", "the athlete")
    await store.write(lambda c: purge.purge(c, effect, now))
    assert await rows(store) == {OWNER: 41}
    until = await store.read(lambda c: allowances.spent_until(c, OWNER, 30, now))
    assert until == now + timedelta(hours=1)


async def test_nothing_remains_of_an_hour_that_is_over(store: Store, clock) -> None:
    await spend(store, 1)
    retention = Retention(store.database, clock, None)
    await retention.prune()
    assert await rows(store) == {OWNER: 1}
    clock.advance(hours=1)
    await retention.prune()
    assert await rows(store) == {}
