"""What is stored is dispatched: once, in its order, after any crash; what cannot be is set aside alone."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import Connection, select, update
from store_makers import OTHER, OWNER, Store, connection_of, detail, event, retitled

from feedzone.domain.effect import PurgeAthlete, StoreDetail, Tombstone
from feedzone.domain.event import CROWD_WAITS
from feedzone.domain.job import Lane
from feedzone.ingest import dispatcher as dispatcher_module
from feedzone.ingest.deliveries import Delivery, accept
from feedzone.ingest.dispatcher import BATCH, Dispatcher, dispatch
from feedzone.ingest.inbox import Inbox
from feedzone.services.dead_letters import DeadLetterService
from feedzone.store import athletes, effects, undispatched
from feedzone.store.engine.last_step import run_body
from feedzone.store.schema.tables import jobs, strava_athletes, unknown_owners, webhook_events
from feedzone.worker.wakeup import LocalWakeup


def dispatcher_of(store: Store, arrivals: LocalWakeup | None = None) -> Dispatcher:
    return Dispatcher(
        store.database, store.clock, arrivals or LocalWakeup(), LocalWakeup(), look_every_s=3600
    )


async def arrive(store: Store, *events) -> None:
    """Store events as a process that dies before their dispatch."""
    deliveries, now = [Delivery(each, "absent") for each in events], store.clock.now()
    await store.write(lambda c: accept(c, deliveries, now))


async def keys(store: Store) -> set[str]:
    return {row.key for row in await store.rows(jobs)}


async def test_a_stored_event_wakes_the_dispatcher(store):
    arrivals = LocalWakeup()
    inbox = Inbox(store.database, store.clock, arrivals)
    await inbox.accept(event(), "absent")
    dispatcher = dispatcher_of(store, arrivals)
    async with asyncio.timeout(5):
        await dispatcher.pause()
    assert await dispatcher.run_once() == 1
    assert await keys(store) == {f"activity:{event().object_id}"}
    await inbox.close()


async def test_what_a_dead_process_stored_is_dispatched_by_the_next_one(store):
    numbers = range(1, BATCH + 10)
    await arrive(store, *(event(object_id=number) for number in numbers))
    assert await dispatcher_of(store).run_once() == len(numbers)
    assert {f"activity:{number}" for number in numbers} <= await keys(store)
    assert await dispatcher_of(store).run_once() == 0


async def test_past_the_limit_of_an_athlete_one_list_call_answers_for_all_unknown_activities(store, clock):
    await store.apply(StoreDetail(detail(5), "event", None, True))
    crowd = [Delivery(event(object_id=number), "absent", crowded=True) for number in (5, 6, 7)]
    await store.write(lambda c: accept(c, crowd, clock.now()))
    assert await dispatcher_of(store).run_once() == 3
    by_key = {row.key: row for row in await store.rows(jobs)}
    assert by_key.keys() == {"activity:5", f"athlete:{OWNER}"}
    assert by_key["activity:5"].priority == Lane.RECONCILE
    listing = by_key[f"athlete:{OWNER}"]
    assert (listing.kind, listing.due_at) == ("list_activities", clock.now() + CROWD_WAITS)
    # Each event knows the job that answers for it.
    linked = {row.object_id: row.job_id for row in await store.rows(webhook_events)}
    assert linked == {5: by_key["activity:5"].id, 6: listing.id, 7: listing.id}


async def test_an_event_is_not_dispatched_twice(store):
    await arrive(store, event())
    await asyncio.gather(*(dispatcher_of(store).run_once() for _ in range(3)))
    assert (await store.row(jobs)).version == 1


@pytest.fixture
def poisoned(monkeypatch) -> set[int]:
    """The ids of objects whose events cannot be dispatched."""
    ids, job_for = {5}, dispatcher_module.job_for

    def failing(event, *args, **more):
        if event.object_id in ids:
            raise ValueError("a bug")
        return job_for(event, *args, **more)

    monkeypatch.setattr(dispatcher_module, "job_for", failing)
    return ids


async def test_an_event_that_cannot_be_dispatched_is_set_aside_alone(store, clock, poisoned):
    await arrive(store, event(object_id=4), event(object_id=5), event(object_id=6))
    assert await dispatcher_of(store).run_once() == 3
    assert await keys(store) == {"activity:4", "activity:6"}
    failed = await store.row(webhook_events, object_id=5)
    assert (failed.status, failed.job_id, failed.attempts) == ("failed", None, 1)
    assert "a bug" not in failed.error_message
    assert await store.read(undispatched.count_set_aside) == 1
    # A comparison finds what it announces.
    assert (await store.row(strava_athletes, id=OWNER)).reconcile_due_at == clock.now()
    assert await store.read(athletes.lost_deliveries) == (1, clock.now())


@pytest.mark.parametrize("by", ["a person", "the next start"])
async def test_an_event_that_was_set_aside_is_tried_again(store, clock, poisoned, by):
    await arrive(store, event(object_id=5))
    dispatcher = dispatcher_of(store)
    await dispatcher.run_once()
    poisoned.clear()
    await dispatcher.run_once()
    assert await keys(store) == set()
    if by == "a person":
        service = DeadLetterService(store.database, clock, LocalWakeup(), LocalWakeup())
        assert await service.retry_all() == 1
    else:
        dispatcher = dispatcher_of(store)
    await dispatcher.run_once()
    assert await keys(store) == {"activity:5"}
    waiting = await store.row(webhook_events)
    assert (waiting.status, waiting.error_message, waiting.processed_at) == ("pending", None, None)


async def test_the_words_of_an_activity_that_is_deleted_before_the_dispatch_go_at_once(store):
    await arrive(store, retitled("Canary"))
    await store.apply(Tombstone(event().object_id, OWNER, "request"))
    assert "Canary" not in (await store.row(webhook_events)).event_data
    assert await dispatcher_of(store).run_once() == 1


async def test_nothing_of_an_athlete_who_left_before_the_dispatch_is_dispatched(store):
    await arrive(store, event(), event(owner_id=OTHER, object_id=6))
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    await dispatcher_of(store).run_once()
    assert await keys(store) == {"activity:6"}


async def test_an_event_of_an_athlete_whose_rows_are_being_removed_is_only_counted(store):
    await arrive(store, event())
    gone = update(strava_athletes).values(status="deauthorized")
    await store.write(lambda c: c.execute(gone))
    async with asyncio.timeout(20):
        assert await dispatcher_of(store).run_once() == 1
    assert await store.rows(webhook_events) == []
    assert (await store.row(unknown_owners)).events == 1


async def test_an_event_that_was_dispatched_meanwhile_is_not_set_aside(store, clock):
    (receipt,) = await store.deliver(event())
    setting = partial(undispatched.set_aside, event_id=receipt.event_id, error="a bug", now=clock.now())
    assert await store.write(setting) is None
    assert (await store.row(webhook_events)).status == "pending"


async def test_beside_another_process_an_object_keeps_its_order(postgres_store, second_postgres):
    """The other one dispatches the first event and has not committed yet."""
    store, first, second = postgres_store, event(), retitled("x")
    await arrive(store, first)
    now = store.clock.now()

    def other(connection: Connection) -> None:
        dispatch(connection, undispatched.claim(connection, BATCH), now)

    async with connection_of(second_postgres) as connection:
        await connection.run_sync(run_body, other)
        await arrive(store, second, event(object_id=6, owner_id=OTHER))
        ours = await store.write(lambda c: dispatch(c, undispatched.claim(c, BATCH), now))
        assert (ours.dispatched, ours.is_partial) == (1, True)
        assert await keys(store) == {"activity:6"}
        await connection.commit()
    assert await dispatcher_of(store).run_once() == 1
    links = select(webhook_events.c.aspect_type, webhook_events.c.job_version).order_by(webhook_events.c.id)
    rows = await store.read(lambda c: c.execute(links.where(webhook_events.c.object_id != 6)).all())
    assert [tuple(row) for row in rows] == [("create", 1), ("update", 2)]


async def test_the_dispatcher_passes_over_an_athlete_who_is_being_purged(postgres_store, second_postgres):
    store, now = postgres_store, postgres_store.clock.now()
    await arrive(store, event(), event(owner_id=OTHER, object_id=6))
    leaving = PurgeAthlete(OWNER, "disconnected", "request", "the operator")

    def purge(connection: Connection) -> None:
        connection.execute(
            select(strava_athletes.c.id).where(strava_athletes.c.id == OWNER).with_for_update()
        )

    async with connection_of(second_postgres) as connection:
        await connection.run_sync(run_body, purge)
        async with asyncio.timeout(5):
            ours = await store.write(lambda c: dispatch(c, undispatched.claim(c, BATCH), now))
        assert (ours.dispatched, ours.is_partial) == (1, True)
        await connection.run_sync(lambda c: effects.apply(c, (leaving,), now))
        await connection.commit()
    assert await dispatcher_of(store).run_once() == 0
    assert await keys(store) == {"activity:6"}
