"""The queries that run all day stay on their indexes, however much there is in the tables."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, text
from store_makers import DETAIL, OTHER, OWNER, Store, summary

from clocks import ManualClock
from feedzone.domain.ids import uuid7
from feedzone.store import (
    athlete_activities,
    athletes,
    events,
    list_diff,
    shown_updates,
    subscriptions,
    undispatched,
)
from feedzone.store.engine.database import open_database
from feedzone.store.jobs import leases, lifecycle
from feedzone.store.reads import activities as activity_lists
from feedzone.store.reads import activity_history, calendar, dashboard, export, inactivity
from feedzone.store.reads import jobs as job_lists
from feedzone.store.schema import upgrade
from feedzone.store.schema.tables import (
    activity_changes,
    call_log,
    job_attempts,
    reconciliations,
    strava_activities,
    strava_athletes,
    webhook_events,
)
from feedzone.store.schema.tables import jobs as jobs_table

ROWS = 1000
YEAR = date(2026, 1, 1), date(2026, 12, 31)
STATUSES = ["pending", "processing", "failed", "ignored"] + ["completed"] * 6


@pytest.fixture(scope="module", params=("sqlite", "postgresql"))
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database with many rows, most of them finished or another's. No test here changes it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('filled') / 'feedzone.db'}"
    else:
        url = request.getfixturevalue("new_postgres")()
    upgrade.prepare(opened := open_database(url))

    async def fill() -> None:
        store = Store.over(opened, ManualClock())
        await store.connect(OWNER)
        await store.connect(OTHER)
        await store.write(lambda c: _fill(c, store.clock.now()))
        await opened.close()

    asyncio.run(fill())
    return url


@pytest.fixture
async def crowded(filled: str, clock: ManualClock) -> AsyncIterator[Store]:
    opened = open_database(filled)
    yield Store.over(opened, clock)
    await opened.close()


def _fill(connection: Connection, now: datetime) -> None:
    ids = [uuid7(int(now.timestamp() * 1000)) for _ in range(ROWS)]
    connection.execute(insert(jobs_table), [_job(n, ids[n], now) for n in range(ROWS)])
    connection.execute(insert(webhook_events), [_event(n, ids[n], now) for n in range(ROWS)])
    connection.execute(insert(strava_activities), [_activity(n, now) for n in range(ROWS)])
    connection.execute(insert(call_log), [_call(n, ids[n], now) for n in range(ROWS)])
    connection.execute(insert(activity_changes), [_change(n, ids[n], now) for n in range(ROWS)])
    connection.execute(insert(job_attempts), [_attempt(n, ids[n], now) for n in range(ROWS)])
    connection.execute(insert(strava_athletes), [_athlete(n, now) for n in range(ROWS)])
    connection.execute(insert(reconciliations), [_sweep(n, ids[n], now) for n in range(ROWS)])
    connection.exec_driver_sql("ANALYZE")


def _job(n: int, job_id: str, now: Any) -> dict[str, Any]:
    return {
        "id": job_id,
        "kind": "refresh_activity",
        "key": f"activity:{n}",
        "athlete_id": n,
        "state": "dead" if n % 3 == 0 else "queued",
        "hint": '{"do":"activity"}',
        "hint_time": 0,
        "priority": 40,
        "fair_position": -n,
        "due_at": now - timedelta(seconds=n),
        "first_received_at": now,
        "updated_at": now,
    }


def _event(n: int, job_id: str, now: Any) -> dict[str, Any]:
    return {
        "id": uuid7(int(now.timestamp() * 1000)),
        "event_data": "{}",
        "status": STATUSES[n % 10],
        "created_at": now,
        "object_type": "activity",
        "object_id": n,
        "aspect_type": "create",
        "owner_id": n,
        "subscription_id": 1,
        "event_time": n,
        "dedup_key": f"{n}",
        "signature": "absent",
        "job_id": job_id,
        "job_version": 1,
    }


def _athlete(n: int, now: Any) -> dict[str, Any]:
    return {"id": n + 1, "status": "deauthorized", "connected_at": now, "updated_at": now}


def _activity(n: int, now: Any) -> dict[str, Any]:
    return DETAIL | {
        "id": n + 1,
        "athlete_id": OWNER if n % 100 == 0 else n,
        "start_date": now - timedelta(hours=n),
        "sync_status": "pending" if n % 50 == 0 else "synced",
        "created_at": now,
        "updated_at": now,
    }


def _call(n: int, name: str, now: Any) -> dict[str, Any]:
    call = {"endpoint": "GET activities/{id}", "status": 200, "ms": 9, "counted": True, "activity_id": n}
    return call | {"id": name, "sent_at": now, "lane": "live", "athlete_id": n}


def _change(n: int, name: str, now: Any) -> dict[str, Any]:
    change = {"id": name, "activity_id": n, "athlete_id": n, "field": "name", "changed_at": now}
    return change | {"old_value": "null", "new_value": "null", "cause": "reconciliation"}


def _attempt(n: int, name: str, now: Any) -> dict[str, Any]:
    failed = {"attempt": 1, "error_class": "other", "error": "500", "ended_at": now}
    return failed | {"id": name, "job_id": name, "athlete_id": n}


def _sweep(n: int, name: str, now: Any) -> dict[str, Any]:
    lines = {"is_full": True, "listed": 1, "unannounced": n % 9, "changed": 0, "missing": 0, "calls": 1}
    return lines | {"id": name, "athlete_id": n, "ended_at": now - timedelta(hours=n)}


async def plans(store: Store, body: Callable[[Connection], Any], *, sorting: bool = True) -> str:
    """How the database would run each statement of `body`; what `body` wrote is rolled back."""
    lines: list[str] = []

    def explained(connection: Connection) -> None:
        sqlite = connection.dialect.name == "sqlite"
        explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
        if not sqlite:
            # Few rows are read faster without an index; this shows the index that could be used.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text(f"SET LOCAL enable_sort = {'on' if sorting else 'off'}"))

        def before(connection, cursor, statement, parameters, context, executemany):
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                example = parameters[0] if executemany else parameters
                lines.extend(row[-1] for row in connection.exec_driver_sql(explain + statement, example))

        with connection.begin_nested() as undone:
            event.listen(connection, "before_cursor_execute", before)
            body(connection)
            event.remove(connection, "before_cursor_execute", before)
            undone.rollback()

    await store.write(explained)
    assert lines
    return "\n".join(lines)


def stays_on(plan: str, *indexes: str) -> None:
    for index in indexes:
        assert index in plan, plan
    scans = [line for line in plan.splitlines() if line.startswith("SCAN") and "INDEX" not in line]
    assert not scans, plan
    assert "Seq Scan" not in plan, plan


async def test_leasing_walks_the_queue_in_order_without_sorting_it(crowded, clock):
    now = clock.now()
    plan = await plans(crowded, lambda c: leases.lease(c, limit=10, owner="w/1", now=now, seconds=60))
    stays_on(plan, "ix_jobs_queue")
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan


async def test_enqueuing_finds_the_live_job_by_its_key(crowded, clock):
    now = clock.now()
    twin = jobs_table.c.kind == "refresh_activity", jobs_table.c.key == "activity:7"
    plan = await plans(
        crowded,
        lambda c: c.execute(
            jobs_table.update().where(*twin, jobs_table.c.state != "dead").values(updated_at=now)
        ),
    )
    assert "uq_jobs_live" in plan or "ix_jobs_key" in plan, plan


async def test_locking_an_objects_jobs_reads_no_other_jobs(crowded):
    stays_on(await plans(crowded, lambda c: lifecycle.lock(c, ["activity:7", "athlete:7"])), "ix_jobs_key")


@pytest.mark.parametrize("step", ["mark_processing", "mark_pending", "complete", "reopen", "discard"])
async def test_the_events_of_a_job_are_found_by_their_job(crowded, clock, step):
    """Each lease and each ending runs one of these: what a year has left behind must not be read for it."""
    now, job_id = clock.now(), uuid7(1)
    steps = {
        "mark_processing": lambda c: events.mark_processing(c, [job_id]),
        "mark_pending": lambda c: events.mark_pending(c, [job_id]),
        "complete": lambda c: events.complete(c, job_id, 1, None, now),
        "reopen": lambda c: events.reopen(c, job_id),
        "discard": lambda c: events.discard(c, job_id, "x", now),
    }
    plan = await plans(crowded, steps[step])
    by_job = re.search(r"Index Cond: \(.*job_id|SEARCH webhook_events USING .*\(job_id=", plan)
    assert by_job, plan


@pytest.mark.parametrize(
    "step", [undispatched.any_waiting, undispatched.oldest, partial(undispatched.claim, most=9)]
)
async def test_events_without_a_job_are_found_by_an_index(crowded, step):
    plan = await plans(crowded, step)
    stays_on(plan, "ix_webhook_events_undispatched")
    assert "TEMP B-TREE" not in plan, plan


async def test_events_that_were_set_aside_are_counted_by_an_index(crowded):
    stays_on(await plans(crowded, undispatched.count_set_aside), "ix_webhook_events_undispatched")


async def test_an_event_is_linked_to_its_job_by_its_id(crowded):
    class Job:
        id, version = uuid7(1), 1

    plan = await plans(crowded, lambda c: undispatched.link_jobs(c, {uuid7(2): Job}))
    assert "pk_webhook_events" in plan or "sqlite_autoindex_webhook_events_1 (id=?)" in plan, plan


async def test_the_next_due_and_the_oldest_job_are_found_by_an_index(crowded, clock):
    now = clock.now()
    stays_on(await plans(crowded, lifecycle.next_due), "ix_jobs_due_at")
    stays_on(await plans(crowded, lambda c: job_lists.oldest_due(c, now)), "ix_jobs_due_at")


async def test_rescuing_looks_at_running_jobs_only(crowded, clock):
    now = clock.now()
    plan = await plans(crowded, lambda c: leases.rescue(c, now))
    stays_on(plan, "ix_jobs_lease_until")


async def test_the_calls_of_other_workers_are_read_from_their_running_jobs(crowded):
    stays_on(await plans(crowded, leases.calls_to_come), "ix_jobs_lease_until")


async def test_higher_priority_jobs_are_counted_along_an_index_up_to_a_limit(crowded, clock):
    now = clock.now()
    plan = await plans(crowded, lambda c: leases.calls_that_go_first(c, now))
    stays_on(plan, "ix_jobs_")
    assert "USE TEMP B-TREE" not in plan, plan


async def test_recent_fetches_of_an_activity_are_read_from_its_own_events(crowded, clock):
    now = clock.now()
    stays_on(await plans(crowded, lambda c: events.recently_refetched(c, {7, 8}, now)), "ix_webhook_events_")


async def test_an_athletes_activities_are_listed_from_their_own_index(crowded):
    plan = await plans(crowded, lambda c: activity_lists.listing(c, athlete_id=OWNER, limit=20))
    stays_on(plan, "ix_strava_activities_athlete_id_start_date")


async def test_the_latest_activities_of_all_are_read_in_order(crowded, clock):
    cursor = (clock.now(), 7)
    for at in (None, cursor):
        plan = await plans(crowded, lambda c, at=at: activity_lists.listing(c, cursor=at, limit=20))
        stays_on(plan, "ix_strava_activities_start_date_id")
        assert "TEMP B-TREE" not in plan, plan


async def test_a_page_of_summaries_is_compared_by_primary_key(crowded, clock):
    page, now = [summary(n) for n in range(1, 201)], clock.now()
    plan = await plans(crowded, lambda c: list_diff.compare(c, page, now))
    assert "PRIMARY KEY" in plan or "pk_strava_activities" in plan, plan
    stays_on(plan)


async def test_stored_activities_of_a_window_are_found_by_athlete_and_start(crowded, clock):
    now = clock.now()
    month = now - timedelta(days=30)
    plan = await plans(crowded, lambda c: athlete_activities.stored_between(c, OWNER, month, now))
    stays_on(plan, "ix_strava_activities_athlete_id_start_date")
    stays_on(
        await plans(crowded, lambda c: athlete_activities.stored_count(c, OWNER)), "ix_strava_activities"
    )


async def test_completeness_of_a_backfill_reads_that_athletes_activities_only(crowded, clock):
    now = clock.now()
    plan = await plans(crowded, lambda c: athletes.complete_sync(c, OWNER, now))
    stays_on(plan, "ix_strava_activities")


async def test_a_disconnecting_athlete_is_found_in_every_table_by_index(crowded, clock):
    from feedzone.domain.effect import PurgeAthlete
    from feedzone.store import purge

    left, now = PurgeAthlete(OWNER, "disconnected", "request", "the operator"), clock.now()
    stays_on(await plans(crowded, lambda c: purge.purge(c, left, now)), "ix_webhook_events_owner_id")


async def test_events_are_listed_newest_first_from_an_index(crowded):
    newest = partial(events.listing, status="failed", limit=50, before_id=None)
    plan = await plans(crowded, newest, sorting=False)
    # With few rows PostgreSQL may prefer the primary key; either way nothing is sorted.
    assert "ix_webhook_events_status_id" in plan or "pk_webhook_events" in plan, plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (lambda c: dashboard.latest(c, 8), "ix_strava_activities_start_date_id"),
        (lambda c: dashboard.durations_since(c, uuid7(1), 2000), "webhook_events"),
        (lambda c: dashboard.outcomes_since(c, uuid7(1)), "webhook_events"),
        (lambda c: dashboard.activity_summaries(c, range(50)), "strava_activities"),
        (lambda c: dashboard.lanes(c), "ix_jobs"),
        (lambda c: activity_history.events_of(c, 7), "ix_webhook_events_object_id"),
        (lambda c: activity_history.calls_of(c, 7), "ix_call_log_activity_id"),
        (lambda c: activity_history.changes_of(c, 7), "ix_activity_changes_activity_id"),
        (lambda c: activity_history.jobs_of(c, 7), "jobs"),
        (lambda c: activity_history.attempts_of(c, [uuid7(1)]), "ix_job_attempts_job_id"),
        (lambda c: calendar.sums(c, OWNER, *YEAR), "ix_strava_activities"),
        (lambda c: calendar.span(c, OWNER), "ix_strava_activities"),
        (lambda c: calendar.sports(c, OWNER), "ix_strava_activities"),
        (lambda c: calendar.listing(c, OWNER, between=YEAR, limit=31), "ix_strava_activities"),
        (lambda c: calendar.listing(c, OWNER, search="ride", limit=31), "ix_strava_activities"),
        (lambda c: calendar.undated(c, OWNER, (), 20), "ix_strava_activities"),
        (lambda c: calendar.fetched(c, OWNER, 8), "ix_strava_activities"),
        (lambda c: export.documents(c, OWNER, after_id=0, limit=50), "strava_activities"),
        (lambda c: export.changes(c, OWNER, after_id=uuid7(1), limit=50), "activity_changes"),
        (lambda c: dashboard.rows_by_table(c, OWNER), "ix_strava_activities"),
    ],
    ids=[
        *("latest", "durations", "outcomes", "briefs", "lanes"),
        *("events of an activity", "calls of an activity", "changes of an activity"),
        *("jobs of an activity", "attempts of an activity"),
        *("sums", "span", "sports", "year", "search", "undated", "fetched"),
        *("documents", "changes", "holdings"),
    ],
)
async def test_queries_of_open_pages_stay_on_an_index(crowded, question, index):
    stays_on(await plans(crowded, question), index)


@pytest.mark.parametrize("stored", export.JSON_LISTS, ids=lambda stored: stored.file)
async def test_an_exported_list_stays_on_an_index(crowded, stored):
    plan = await plans(crowded, lambda c: export.lists(c, stored, OWNER, after_id=0, limit=50))
    stays_on(plan, stored.column.table.name)


@pytest.mark.parametrize("ask", ["count", "list", "tell"])
async def test_inactive_athletes_are_found_by_indexes(crowded, clock, ask):
    """Athletes are looked through, and nothing else."""
    now = clock.now()
    await crowded.write(lambda c: subscriptions.remember(c, 1, "https://x.test", now - timedelta(days=90)))
    asks = {
        "count": lambda c: inactivity.quiet_count(c, now),
        "list": lambda c: athletes.listing(
            c, limit=50, condition=inactivity.quiet(c, now) | inactivity.idle(now)
        ),
        "tell": lambda c: inactivity.signs_of(c, range(1, 51), now),
    }
    plan = await plans(crowded, asks[ask])
    small = re.compile("(SCAN|Seq Scan on) (strava_athletes|webhook_subscriptions)")
    others = [line for line in plan.splitlines() if not small.search(line)]
    stays_on("\n".join(others), "ix_strava_activities_", "ix_reconciliations_")


async def test_values_to_take_back_are_found_among_the_unconfirmed(crowded, clock):
    for which in (shown_updates.OF_OTHERS, shown_updates.ended_by(clock.now())):
        for step in (partial(shown_updates.take_back, now=clock.now()), shown_updates.any_shown):
            stays_on(await plans(crowded, partial(step, which=which)), "ix_strava_activities_unconfirmed")
