"""SQLite gathers no statistics by itself; sums over the call log read one index all the same.

Without statistics it chose the index by athlete, and took 16 s for 5,000,000 calls.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy.event import listen
from test_query_plans import plans, stays_on

from feedzone.domain.quota.demand import Counted
from feedzone.domain.quota.windows import ApiCall
from feedzone.store import events
from feedzone.store.quota import call_log


@pytest.mark.parametrize("by", ["lane", "athlete_id", "hour"])
async def test_a_days_calls_are_added_up_from_one_index(store, clock, by):
    plan = await plans(store, partial(call_log.spent, since=clock.now(), by=by, most=20))
    stays_on(plan, "ix_call_log_sent_at")
    assert "SEARCH call_log USING COVERING INDEX" in plan or "Index Cond: ((sent_at" in plan, plan


@pytest.mark.parametrize("question", [call_log.counted, call_log.mean_ms])
async def test_the_demand_and_the_mean_duration_are_read_from_one_index(store, clock, question):
    plan = await plans(store, partial(question, now=clock.now()))
    stays_on(plan, "ix_call_log_sent_at")
    assert "ix_call_log_athlete_id" not in plan, plan


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


async def test_the_demand_is_learned_again_from_the_last_quarters_alone(store, clock):
    log = call_log.CallLog(store.database, clock)

    async def call_and_count(known: call_log.Seen | None) -> call_log.Seen:
        log.note(ApiCall(clock.now(), "live", None, "GET athlete", 200, 9, {}, counted=True))
        await log.flush()
        return await store.read(lambda c: call_log.counted(c, clock.now(), known))

    first = await call_and_count(None)
    quarter = first.rows[0].quarter
    clock.advance(hours=2)
    second = await call_and_count(first)
    clock.advance(minutes=15)
    third = await call_and_count(second)
    assert [row.quarter - quarter for row in sorted(third.rows, key=quarter_of)] == [0, 8, 9]
    anew = await store.read(lambda c: call_log.counted(c, clock.now()))
    assert sorted(anew.rows, key=quarter_of) == sorted(third.rows, key=quarter_of)
    old, new = Counted(quarter, "marked", 7), Counted(quarter + 8, "marked", 7)
    marked = second._replace(rows=[*second.rows, old, new])
    again = await store.read(lambda c: call_log.counted(c, clock.now(), marked))
    assert [row for row in again.rows if row.lane == "marked"] == [old], "the newest quarters are read again"
    clock.advance(days=7, hours=1)
    (last,) = (await call_and_count(third._replace(at=clock.now() - timedelta(hours=3)))).rows
    assert last.quarter - quarter == 9 + 7 * 96 + 4


def quarter_of(row: Counted) -> int:
    return row.quarter
