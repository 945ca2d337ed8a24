"""SQLite gathers no statistics by itself; sums over the call log read one index all the same.

Without statistics it chose the index by athlete, and took 16 s for 5,000,000 calls.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen
from test_query_plans import plans, stays_on

from feedzone.store import batches, events
from feedzone.store.jobs import deferral
from feedzone.store.quota import call_log
from feedzone.store.schema import tables

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

UNKNOWN_SIZE = text(
    "UPDATE pg_class SET reltuples = -1, relpages = 0 "
    "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
)


@pytest.fixture(autouse=True)
async def no_statistics(store):
    """Let PostgreSQL forget that it has seen the tables empty: an earlier test may have caused a vacuum."""

    def forget(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(UNKNOWN_SIZE)

    await store.write(forget)


async def test_a_days_calls_are_added_up_from_one_index(store, clock):
    plan = await plans(store, partial(call_log.spent_by_athlete, since=clock.now(), most=20))
    stays_on(plan, "ix_call_log_sent_at")
    assert "SEARCH call_log USING COVERING INDEX" in plan or "Index Cond: ((sent_at" in plan, plan


async def test_the_mean_duration_is_read_from_one_index(store, clock):
    plan = await plans(store, partial(call_log.mean_ms, now=clock.now()))
    stays_on(plan, "ix_call_log_sent_at")
    assert "ix_call_log_athlete_id" not in plan, plan


async def test_the_demand_is_learned_without_reading_the_calls(store, clock):
    plan = await plans(store, partial(call_log.counted, now=clock.now()))
    scans = [line for line in plan.splitlines() if "call_log" in line]
    assert len(scans) == 1, plan  # the instant of the oldest call
    assert "ix_call_log_sent_at" in scans[0], plan


async def test_the_jobs_that_wait_for_a_list_are_found_by_an_index(store, clock):
    now = clock.now()
    deferring = partial(deferral.defer_for_list, athlete_ids=[1, 2], now=now, until=now)
    stays_on(await plans(store, deferring))


async def test_the_oldest_open_event_is_planned_by_its_status(store):
    """PostgreSQL plans without knowing parameters, and read all events by time: 1.5 s for 3,000,000."""
    sent = []

    def look(connection):
        listen(connection, "before_cursor_execute", lambda *seen: sent.append(seen[2:4]))
        events.oldest_open(connection)

    await store.write(look)
    ((statement, parameters),) = sent
    assert not parameters, statement
    assert "'pending', 'processing'" in statement


@pytest.mark.parametrize(
    ("age", "matching", "index"),
    [
        (tables.call_log.c.sent_at, call_log.is_old(LONG_AGO), "ix_call_log_sent_at"),
        (
            tables.webhook_events.c.created_at,
            events.is_finished(LONG_AGO, ("completed", "ignored")),
            "ix_webhook_events_created_at",
        ),
    ],
)
async def test_old_rows_are_found_without_reading_younger_ones(store, age, matching, index):
    """In the order of ids, PostgreSQL read 20,000,000 calls to find that no more are old."""
    plan = await plans(store, partial(batches.oldest, age=age, matching=matching, after=LONG_AGO))
    stays_on(plan, index)
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan
