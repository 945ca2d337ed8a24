"""Two processes at one PostgreSQL: whoever commits first, nothing is lost, doubled or brought back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from store_makers import ACTIVITY, OWNER, Store, detail, event, fetched, spec, streams, summary

from feedzone.domain.effect import PurgeAthlete, StorePage, Tombstone
from feedzone.domain.outcome import Done
from feedzone.ingest import dispatcher
from feedzone.ingest.dispatcher import Delivery
from feedzone.store import effects
from feedzone.store.jobs import lifecycle
from feedzone.store.schema.tables import jobs, strava_activities, webhook_events

LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def ours(postgres_store) -> Store:
    return postgres_store


@asynccontextmanager
async def meanwhile(
    ours: Store, theirs: Any, body: Callable[[Connection], Any], wanted: Any
) -> AsyncIterator[None]:
    """`body` has run in another process and is not committed; `wanted` runs here until it ends or waits.

    Leaving the block commits the other process and sees `wanted` to its end.
    """
    async with theirs._engine.connect() as connection:
        await connection.run_sync(body)
        task = asyncio.ensure_future(wanted)
        while not task.done() and not await ours.read(lambda c: c.execute(WAITING).scalar()):
            await asyncio.sleep(0.005)
        yield
        await connection.commit()
    await task


def stored(clock, *wanted):
    now = clock.now()
    return lambda c: effects.apply(c, wanted, now)


PAGE = StorePage(OWNER, (summary(),), (spec(),))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PAGE, fetched(detail())),
        (fetched(detail()), PAGE),
        (fetched(detail()), Tombstone(ACTIVITY, OWNER, "event:x")),
        (Tombstone(ACTIVITY, OWNER, "event:x"), fetched(detail())),
        (streams(), streams(blob=b"other")),
    ],
    ids=["page, fetch", "fetch, page", "fetch, delete", "delete, fetch", "streams"],
)
async def test_two_processes_may_store_the_same_new_activity_at_once(
    ours, second_postgres, clock, first, second
):
    """A webhook announces it while the first sync lists it: two jobs, so no lease keeps them apart."""
    async with meanwhile(ours, second_postgres, stored(clock, first), ours.apply(second)):
        pass
    assert len(await ours.rows(strava_activities)) == (0 if first == streams() else 1)


async def test_a_description_is_not_lost_to_a_list_read_at_the_same_time(ours, second_postgres, clock):
    await ours.apply(PAGE)
    async with meanwhile(ours, second_postgres, stored(clock, fetched(detail())), ours.apply(PAGE)):
        pass
    assert (await ours.row(strava_activities)).description == "along the canal"


async def test_two_deliveries_of_one_event_are_one_event(ours, second_postgres, clock):
    now, delivery = clock.now(), [Delivery(event(), "absent")]
    async with meanwhile(
        ours, second_postgres, lambda c: dispatcher.accept(c, delivery, now), ours.deliver(event())
    ):
        pass
    assert (await ours.row(jobs)).version == 1
    assert len(await ours.rows(webhook_events)) == 1


async def test_an_event_that_comes_while_the_run_ends_is_not_lost(ours, second_postgres, clock):
    """The worker completes version 1 while version 2 is being delivered."""
    await ours.deliver(event())
    job = await ours.lease_one()
    now, newer = clock.now(), [Delivery(event(aspect_type="delete", event_time=1516126099), "absent")]
    finish = ours.queue.finish(job, Done((fetched(detail()),)))
    async with meanwhile(ours, second_postgres, lambda c: dispatcher.accept(c, newer, now), finish):
        pass
    assert (await ours.lease_one()).hint.action == "delete"


async def test_an_event_that_comes_just_after_the_run_ended_has_a_job(ours, second_postgres, clock):
    await ours.deliver(event())
    job = await ours.lease_one()
    now = clock.now()

    def end(connection):
        lifecycle.finish(
            connection,
            job,
            Done(),
            now=now,
            max_attempts=3,
            retry_delay=timedelta(seconds=1),
            apply=lambda c, last: None,
        )

    newer = event(aspect_type="delete", event_time=1516126099)
    async with meanwhile(ours, second_postgres, end, ours.deliver(newer)):
        pass
    again = await ours.lease_one()
    told = await ours.row(webhook_events, aspect_type="delete")
    assert (again.hint.action, told.job_id) == ("delete", again.id)


async def test_an_event_that_was_being_delivered_when_the_athlete_left_leaves_nothing(
    ours, second_postgres, clock
):
    now, delivery = clock.now(), [Delivery(event(), "absent")]
    async with meanwhile(
        ours, second_postgres, lambda c: dispatcher.accept(c, delivery, now), ours.apply(LEFT)
    ):
        pass
    assert await ours.rows(webhook_events, owner_id=OWNER) == []
    assert await ours.rows(jobs, athlete_id=OWNER) == []


async def test_an_event_that_is_delivered_while_the_athlete_leaves_causes_nothing(
    ours, second_postgres, clock
):
    async with meanwhile(ours, second_postgres, stored(clock, LEFT), ours.deliver(event())):
        pass
    assert await ours.rows(jobs, athlete_id=OWNER) == []


async def test_a_deadlock_is_tried_again_and_both_writes_land(ours, second_postgres):
    await ours.apply(fetched(detail(1)), fetched(detail(2)))
    tries = []

    def rename(name, *ids):
        def body(connection):
            tries.append(name)
            for number, activity_id in enumerate(ids):
                if number:
                    connection.exec_driver_sql("SELECT pg_sleep(0.1)")  # until the other holds its first row
                connection.execute(
                    strava_activities.update().where(strava_activities.c.id == activity_id).values(name=name)
                )

        return body

    await asyncio.gather(ours.write(rename("a", 1, 2)), second_postgres.write(rename("b", 2, 1)))
    assert len(tries) == 3
    names = {row.name for row in await ours.rows(strava_activities)}
    assert len(names) == 1
