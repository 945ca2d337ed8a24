"""Two processes share one PostgreSQL: in any order of commits, nothing is lost, doubled or restored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from store_makers import (
    ACTIVITY,
    OWNER,
    Store,
    arrive,
    connecting,
    connection_of,
    deauthorized,
    detail,
    event,
    fetched,
    spec,
    streams,
    summary,
)

from feedzone.domain.effect import PurgeAthlete, StorePage, StoreReconciliation, Tombstone
from feedzone.domain.outcome import Discard, Done
from feedzone.errors import NotFound
from feedzone.ingest.deliveries import Delivery
from feedzone.store import activities, batches, effects
from feedzone.store.engine.last_step import run_body
from feedzone.store.jobs import dead_letters, lifecycle
from feedzone.store.jobs.endings import Ending, finish_all
from feedzone.store.schema.tables import (
    deletion_receipts,
    jobs,
    strava_activities,
    strava_athletes,
    webhook_events,
)

PURGE = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def here(postgres_store) -> Store:
    return postgres_store


@asynccontextmanager
async def during_uncommitted(
    here: Store, other_database: Any, body: Callable[[Connection], Any], work: Any
) -> AsyncIterator[None]:
    """Run `body` in another process without a commit, and `work` here until it ends or waits.

    Leaving the block commits the other process and waits for the end of `work`.
    """
    async with connection_of(other_database) as connection:
        await connection.run_sync(run_body, body)
        task = asyncio.ensure_future(work)
        while not task.done() and not await here.read(lambda c: c.execute(WAITING).scalar()):
            await asyncio.sleep(0.005)
        yield
        await connection.commit()
    await task


def storing(clock, *batch):
    now = clock.now()
    return lambda c: effects.apply(c, batch, now)


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
    here, second_postgres, clock, first, second
):
    """An event announces it while the backfill lists it: two jobs, so no lease separates them."""
    async with during_uncommitted(here, second_postgres, storing(clock, first), here.apply(second)):
        pass
    assert len(await here.rows(strava_activities)) == (0 if first == streams() else 1)


async def test_an_event_and_a_comparison_that_find_the_same_new_activity_do_not_deadlock(
    here, second_postgres, clock, monkeypatch
):
    """Both take jobs before activities. In different orders, PostgreSQL would cancel one after a second."""
    now, tries = clock.now(), []
    finding = StoreReconciliation(OWNER, True, (summary(),), (spec(),), latest=True)

    def compare(connection):
        tries.append(1)
        effects.apply(connection, (finding,), now)

    async with connection_of(second_postgres) as event_side:
        await event_side.run_sync(lambda c: lifecycle.enqueue(c, [spec()], now))
        comparing = asyncio.ensure_future(here.write(compare))
        while not comparing.done() and not await here.read(lambda c: c.execute(WAITING).scalar()):
            await asyncio.sleep(0.005)
        await event_side.run_sync(lambda c: activities.mark_announced(c, {(OWNER, ACTIVITY): now}, now))
        await event_side.commit()
    await comparing
    assert tries == [1]


async def test_a_description_is_not_lost_to_a_list_read_at_the_same_time(here, second_postgres, clock):
    await here.apply(PAGE)
    async with during_uncommitted(here, second_postgres, storing(clock, fetched(detail())), here.apply(PAGE)):
        pass
    assert (await here.row(strava_activities)).description == "along the canal"


async def test_two_deliveries_of_one_event_are_one_event(here, second_postgres, clock):
    now, delivery = clock.now(), [Delivery(event(), "absent")]
    async with during_uncommitted(
        here, second_postgres, lambda c: arrive(c, delivery, now), here.deliver(event())
    ):
        pass
    assert (await here.row(jobs)).version == 1
    assert len(await here.rows(webhook_events)) == 1


async def test_an_event_that_arrives_while_a_run_ends_is_not_lost(here, second_postgres, clock):
    """The worker completes version 1 while version 2 is being delivered."""
    await here.deliver(event())
    job = await here.lease_one()
    now, newer = clock.now(), [Delivery(event(aspect_type="delete", event_time=1516126099), "absent")]
    finish = here.queue.finish(job, Done((fetched(detail()),)))
    async with during_uncommitted(here, second_postgres, lambda c: arrive(c, newer, now), finish):
        pass
    assert (await here.lease_one()).hint.action == "delete"


async def test_an_event_that_arrives_just_after_a_run_ended_has_a_job(here, second_postgres, clock):
    await here.deliver(event())
    job = await here.lease_one()
    now = clock.now()

    def end(connection):
        ending = Ending(job, Done(), timedelta(seconds=1))
        finish_all(connection, [ending], now=now, max_attempts=3, apply=lambda *_: None)

    newer = event(aspect_type="delete", event_time=1516126099)
    async with during_uncommitted(here, second_postgres, end, here.deliver(newer)):
        pass
    again = await here.lease_one()
    deletion = await here.row(webhook_events, aspect_type="delete")
    assert (again.hint.action, deletion.job_id) == ("delete", again.id)


async def test_an_event_that_commits_just_before_the_purge_leaves_nothing(here, second_postgres, clock):
    now, delivery = clock.now(), [Delivery(event(), "absent")]
    async with during_uncommitted(
        here, second_postgres, lambda c: arrive(c, delivery, now), here.apply(PURGE)
    ):
        pass
    assert await here.rows(webhook_events, owner_id=OWNER) == []
    assert await here.rows(jobs, athlete_id=OWNER) == []


async def test_an_event_that_is_delivered_during_the_purge_causes_no_job(here, second_postgres, clock):
    async with during_uncommitted(here, second_postgres, storing(clock, PURGE), here.deliver(event())):
        pass
    assert await here.rows(jobs, athlete_id=OWNER) == []


class NotYetCommitted:
    """Takes the transaction that a service would run."""

    async def write(self, body: Callable[[Connection], Any]) -> bool:
        self.body = body
        return False


async def consenting(clock: Any) -> Callable[[Connection], Any]:
    """The transaction of a new consent of OWNER."""
    taken = NotYetCommitted()
    await connecting(taken, clock).connect("code", "read,activity:read")
    return taken.body


async def refusal(here: Store) -> Any:
    """The end of the job that Strava's refusal of the old pair confirms."""
    consent = (await here.row(strava_athletes, id=OWNER)).connected_at
    await here.deliver(deauthorized())
    job = await here.lease_one()
    purge = PurgeAthlete(OWNER, "deauthorized", job.hint.cause, "Strava refuses the tokens", consent)
    return here.queue.finish(job, Done((purge,)))


async def assert_connected(here: Store, receipts: int) -> None:
    row = await here.row(strava_athletes, id=OWNER)
    assert (row.status, row.refresh_token_encrypted is not None) == ("active", True)
    assert len(await here.rows(deletion_receipts)) == receipts
    assert [job.kind for job in await here.rows(jobs, athlete_id=OWNER)] == ["backfill_athlete"]


async def test_a_consent_that_commits_just_before_the_purge_survives(here, second_postgres, clock):
    """Strava refused the old pair; the athlete came back before the purge."""
    ended = await refusal(here)
    clock.advance(seconds=1)
    async with during_uncommitted(here, second_postgres, await consenting(clock), ended):
        pass
    await assert_connected(here, receipts=0)


@pytest.mark.parametrize("at_once", [1, 100], ids=["many steps", "one step"])
async def test_a_consent_during_the_purge_waits_and_wins(here, second_postgres, clock, monkeypatch, at_once):
    monkeypatch.setattr(batches, "AT_ONCE", at_once)
    await here.apply(*(fetched(detail(number)) for number in range(1, 4)))
    consent = (await here.row(strava_athletes, id=OWNER)).connected_at
    clock.advance(seconds=1)
    ended = PurgeAthlete(OWNER, "deauthorized", "event:x", "Strava refuses the tokens", consent)
    coming_back = connecting(here.database, clock).connect("code", "read,activity:read")
    async with during_uncommitted(here, second_postgres, storing(clock, ended), coming_back):
        pass
    await assert_connected(here, receipts=1)
    assert await here.rows(strava_activities) == []


@pytest.mark.parametrize("second", ["the event", "the operator"])
async def test_a_consent_between_two_purges_survives(here, second_postgres, clock, second):
    """The athlete leaves, and comes back while another purge waits for the first one."""
    consent = (await here.row(strava_athletes, id=OWNER)).connected_at
    first = PurgeAthlete(OWNER, "disconnected", "request", "the operator", consent)
    clock.advance(seconds=1)
    work = (
        await refusal(here) if second == "the event" else connecting(here.database, clock).disconnect(OWNER)
    )
    both = lambda c: (storing(clock, first)(c), connect_again(c))  # noqa: E731
    connect_again = await consenting(clock)
    async with during_uncommitted(here, second_postgres, both, swallowing(work)):
        pass
    await assert_connected(here, receipts=1)


async def swallowing(work: Any) -> None:
    """Wait for work that may find that there is nothing to do any more."""
    with contextlib.suppress(NotFound):
        await work


async def test_two_purges_at_once_leave_one_receipt(here, second_postgres, clock):
    async with during_uncommitted(
        here,
        second_postgres,
        storing(clock, PURGE),
        swallowing(connecting(here.database, clock).disconnect(OWNER)),
    ):
        pass
    assert len(await here.rows(deletion_receipts)) == 1


async def test_after_a_deadlock_both_writes_succeed(here, second_postgres):
    await here.apply(fetched(detail(1)), fetched(detail(2)))
    await second_postgres.read(lambda c: c.exec_driver_sql("SELECT 1"))  # both connections are open
    tries = []

    def rename(name, *ids):
        def body(connection):
            tries.append(name)
            for number, activity_id in enumerate(ids):
                if number:
                    connection.exec_driver_sql("SELECT pg_sleep(0.5)")  # until the other holds its first row
                connection.execute(
                    strava_activities.update().where(strava_activities.c.id == activity_id).values(name=name)
                )

        return body

    await asyncio.gather(here.write(rename("a", 1, 2)), second_postgres.write(rename("b", 2, 1)))
    assert len(tries) == 3
    names = {row.name for row in await here.rows(strava_activities)}
    assert len(names) == 1


@pytest.mark.parametrize("retry", ["one", "automatic", "reconnect"])
async def test_a_dead_letter_retried_while_an_event_of_its_object_commits(
    here, second_postgres, clock, retry
):
    """One job of an object is live: the new event's job runs, and resolves the dead letter."""
    for kind, object_id in (("strava_error", ACTIVITY), ("revoked", ACTIVITY + 1)):
        await here.deliver(event(object_id=object_id))
        letter = await here.run(Discard("failed", kind=kind))
        if retry != "reconnect":
            break
    clock.advance(hours=1)
    now = clock.now()
    retries = {
        "one": lambda: here.write(lambda c: dead_letters.requeue(c, letter.id, now)),
        "automatic": lambda: here.write(lambda c: dead_letters.auto_retry_due(c, now, 9)),
        "reconnect": lambda: here.write(lambda c: dead_letters.requeue_denied(c, OWNER, now)),
    }
    newer = [Delivery(event(object_id=letter.object_id, aspect_type="update"), "absent")]
    retried = retries[retry]()
    async with during_uncommitted(here, second_postgres, lambda c: arrive(c, newer, now), retried):
        pass
    states = sorted(row.state for row in await here.rows(jobs, key=letter.key))
    assert states == ["dead", "queued"]
    (job,) = [job for job in await here.lease() if job.key == letter.key]
    await here.queue.finish(job, Done((fetched(detail()),)))
    assert await here.rows(jobs, key=letter.key) == []


async def test_a_dead_letter_that_two_processes_retry_runs_once(here, second_postgres, clock):
    await here.deliver(event())
    letter = await here.run(Discard("failed"))
    now = clock.now()

    def retry(connection):
        return dead_letters.requeue(connection, letter.id, now)

    async with during_uncommitted(here, second_postgres, retry, here.write(retry)):
        pass
    (row,) = await here.rows(jobs)
    assert (row.state, row.attempts) == ("queued", 0)


async def test_a_discarded_dead_letter_is_not_retried_by_a_process_that_saw_it_before(
    here, second_postgres, clock
):
    await here.deliver(event())
    letter = await here.run(Discard("failed"))
    now = clock.now()
    async with during_uncommitted(
        here,
        second_postgres,
        lambda c: dead_letters.discard(c, letter.id, "nobody needs it", now),
        here.write(lambda c: dead_letters.requeue(c, letter.id, now)),
    ):
        pass
    assert [row.state for row in await here.rows(jobs)] == ["discarded"]
