"""Work that exceeds the rate limit waits, uses no attempts, and resumes without help."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from engine import DETAIL, LIST, make_engine

from feedzone.domain.job import JobSpec, Lane, RefreshHint
from feedzone.sandbox import Limits
from feedzone.store.jobs import lifecycle
from feedzone.store.schema.tables import jobs, strava_activities

ROOMY = Limits(100_000, 1_000_000, 100_000, 1_000_000)


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path):
    made, (athlete,) = make_engine(sqlite_database, clock, tmp_path, limits=ROOMY)
    await made.connect(athlete)
    await made.work()
    made.athlete = athlete
    return made


async def test_three_days_without_quota_cost_no_attempt_and_cause_no_dead_letter(engine):
    """Other software that uses the application spends all calls at the start of each day."""
    world = engine.world
    world.meter.limits = Limits(200, 2000, 100, 1000)
    specs = [world.record(engine.athlete, minutes=10, manual=True) for _ in range(30)]
    await engine.deliver_announced()
    before = engine.world.journal.answered_429
    for _ in range(3 * 24 * 4):
        world.consume(1000)
        await engine.work()
        engine.clock.advance(minutes=15)
    waiting = await engine.rows(jobs, kind="refresh_activity")
    assert len(waiting) == 30
    assert {(job.state, job.attempts) for job in waiting} == {("queued", 0)}
    assert world.journal.answered_429 - before <= 4 * engine.app.settings.queue_batch_size
    engine.clock.advance(days=1)
    await engine.work()
    await engine.advance_and_work(minutes=1)  # for jobs that waited for the new token
    stored = await engine.rows(strava_activities, sync_status="synced")
    assert {row.id for row in stored} == {spec.id for spec in specs}


async def test_calls_resume_right_after_the_window_that_a_429_closed(engine):
    """No worker sleeps until then, and jobs wait no longer than the window lasts."""
    engine.clock._now = datetime(2026, 11, 4, 12, 14, 50, tzinfo=UTC)
    engine.world.meter.limits = Limits(200, 20_000, 100, 10_000)
    specs = [engine.world.record(engine.athlete, minutes=10, manual=True) for _ in range(5)]
    await engine.deliver_announced()
    engine.world.consume(100)
    await engine.work()  # returns, because no worker waits for the window
    assert engine.world.journal.answered_429
    opens = datetime(2026, 11, 4, 12, 15, tzinfo=UTC)
    due = [job.due_at for job in await engine.rows(jobs, kind="refresh_activity")]
    assert len(due) == len(specs)
    assert opens <= min(due)
    assert max(due) <= opens + timedelta(seconds=5)
    before = len(engine.calls)
    engine.clock._now = opens - timedelta(seconds=1)
    await engine.work()
    assert len(engine.calls) == before
    engine.clock._now = opens + timedelta(seconds=5)
    await engine.work()
    assert engine.requests(before) == {DETAIL: len(specs)}


async def test_eight_workers_that_reach_the_limit_together_get_at_most_one_429(engine):
    """Eight processes share one budget, with work for three windows."""
    world = engine.world
    world.meter.limits = Limits(40, 20_000, 20, 10_000)
    await engine.reconcile(engine.athlete)  # the headers of its responses contain the limit
    engine.clock.advance(minutes=15)
    workers = [engine.app, *(engine.process() for _ in range(7))]
    specs = [world.record(engine.athlete, minutes=10, manual=True) for _ in range(60)]
    await engine.deliver_announced()
    for _ in range(4):
        await engine.work(*workers)
        engine.clock.advance(minutes=15, seconds=10)
        assert world.journal.answered_429 <= 1
    stored = await engine.rows(strava_activities, sync_status="synced")
    assert {row.id for row in stored} == {spec.id for spec in specs}


async def test_an_athlete_can_log_in_while_the_window_is_spent(engine):
    """A spent read window never blocks token calls."""
    world = engine.world
    world.meter.limits = Limits(200, 20_000, 100, 10_000)
    world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    world.consume(100)
    await engine.work()
    assert world.journal.answered_429
    late = world.add_athlete(history_days=0).id
    await engine.connect(late)
    assert (await engine.app.queries.athletes.get(late)).status == "active"


async def test_an_event_is_fetched_in_the_next_free_slot_before_5000_backfill_jobs(engine):
    now = engine.clock.now()
    history = [
        JobSpec(
            "refresh_activity",
            f"activity:{number}",
            engine.athlete,
            RefreshHint(cause="backfill"),
            0,
            Lane.BACKFILL,
            rank=-number,
        )
        for number in range(1, 5001)
    ]
    await engine.database.write(lambda c: lifecycle.enqueue(c, history, now))
    producer = engine.app.worker.producer
    assert await producer.run_once() == engine.app.settings.queue_batch_size  # every slot is taken
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await asyncio.wait(list(producer.running), return_when=asyncio.FIRST_COMPLETED)
    await producer.run_once()
    await producer.drain(30)
    (row,) = await engine.rows(strava_activities, id=spec.id)
    assert row.sync_status == "synced"
    done_before = 5000 - len(await engine.rows(jobs, kind="refresh_activity"))
    assert done_before <= 2 * engine.app.settings.queue_batch_size


async def test_calls_whose_responses_lack_limit_headers_are_counted(engine):
    """Our own count applies when a response has no usage."""
    engine.world.record(engine.athlete, minutes=2)
    await engine.deliver_announced()
    await engine.work()
    windows = {window.name: window.used for window in await engine.app.budget.windows()}
    assert windows["read_15min"] == engine.world.meter.usage(engine.world.clock())["read_short"]
    assert engine.requests()[LIST] + engine.requests()[DETAIL] < windows["read_15min"]
