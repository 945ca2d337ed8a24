"""What pages ask of the database, and the answers they can rely on."""

from __future__ import annotations

from datetime import timedelta

from store_makers import ACTIVITY, OWNER, Store, event, spec

from feedzone.clock import StravaClock
from feedzone.domain.job import activity_key
from feedzone.domain.outcome import Discard
from feedzone.queries.jobs import LETTERS_A_GROUP
from feedzone.queries.read_models import read_models
from feedzone.store import athletes
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.reads import dashboard


async def test_completeness_needs_all_activities_and_all_reconciliations(store: Store, clock):
    before = await store.read(dashboard.completeness)
    assert (before.complete, before.verified_at) == (0, None)
    now = clock.now()

    def compared(connection) -> None:
        athlete_ids = [row.id for row in athletes.listing(connection, limit=10)]
        for place, number in enumerate(athlete_ids):
            athletes.begin_sync(connection, number, None, now)
            athletes.finish_listing(connection, number, now)
            athletes.note_verified(connection, number, now - timedelta(hours=place), everything=True)

    await store.write(compared)
    after = await store.read(dashboard.completeness)
    assert after.complete == after.active == before.active
    assert after.verified_at == now - timedelta(hours=after.active - 1)
    assert await store.read(lambda c: dashboard.syncing(c, 10)) == []


async def test_athletes_without_access_are_named_and_not_counted(store: Store, clock):
    active = (await store.read(dashboard.completeness)).active
    await store.write(lambda c: athletes.mark(c, OWNER, "needs_reauth", "revoked", clock.now()))
    assert (await store.read(dashboard.completeness)).active == active - 1
    (lost,) = await store.read(lambda c: dashboard.without_access(c, 10))
    assert (lost.id, lost.status_reason) == (OWNER, "revoked")


async def test_dead_letters_are_counted_by_class_and_their_events_can_be_retried(store: Store):
    await store.deliver(event())
    job = await store.run(Discard("500 error", kind="strava_error"))
    assert await store.read(dashboard.failure_counts) == {"strava_error": 1}
    (letter,) = await store.read(lambda c: dashboard.dead_letters_of(c, "strava_error", 10))
    assert letter.id == job.id
    unknown = "01a00000-0000-7000-8000-000000000000"
    assert await store.read(lambda c: dashboard.dead_letter_ids(c, [job.id, unknown])) == {job.id}


async def test_an_athletes_rows_are_counted_by_table(store: Store):
    await store.deliver(event())
    rows = await store.read(lambda c: dashboard.rows_by_table(c, OWNER))
    assert (rows["jobs"], rows["webhook_events"]) == (1, 1)
    assert await store.read(lambda c: dashboard.activity_summaries(c, [ACTIVITY + 1])) == {}


async def test_lanes_are_listed_with_their_oldest_job(store: Store, clock):
    began = clock.now()
    await store.deliver(event())
    (lane,) = await store.read(dashboard.lanes)
    assert (lane.priority, lane.jobs, lane.since) == (0, 1, began)


async def test_the_database_reports_its_version_and_a_server_its_time(store: Store):
    name, now = await store.read(dashboard.server)
    assert (now is None) == name.startswith("SQLite")
    assert name.startswith(("SQLite 3", "PostgreSQL 1"))


async def test_a_group_of_failures_shows_its_latest_dead_letters_and_counts_all(store, clock):
    for number in range(1, LETTERS_A_GROUP + 3):
        await store.enqueue(spec(number))
        clock.advance(seconds=1)
        await store.run(Discard("500"))
    (group,) = await read_models(
        store.database, clock, BudgetTable(store.database, StravaClock(clock))
    ).jobs.failure_groups()
    assert group.count == LETTERS_A_GROUP + 2
    assert [letter.job.key for letter in group.letters] == [
        activity_key(number) for number in range(LETTERS_A_GROUP + 2, 2, -1)
    ]
