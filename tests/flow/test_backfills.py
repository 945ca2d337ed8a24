"""An interrupted, repeated or restarted backfill stores each activity once, and reports none as new."""

from __future__ import annotations

import asyncio

import pytest
from engine import DETAIL, LIST, ManualEngine, make_engine

from feedzone.handlers import backfill_athlete
from feedzone.sandbox import Limits
from feedzone.store.schema.tables import activity_changes, strava_activities, strava_athletes

PAGES = 4
"""Pages of five activities, the last one shorter; an empty page follows."""


class KilledError(BaseException):
    """Stands for SIGKILL: not an Exception, so that no handler catches it."""


def history(engine: ManualEngine, athlete: int, count: int) -> set[int]:
    now = engine.world.clock()
    starts = (now - 3600 * (number + 48) for number in range(count))
    return {engine.world.record(athlete, minutes=5, manual=True, start=start).id for start in starts}


async def run_one_by_one(engine: ManualEngine) -> None:
    """Run jobs one after the other, so that the test decides at which call the process dies."""
    while True:
        (job,) = await engine.app.queue.lease(1, "dead/1", 30)
        await engine.app.worker._executor.run(job)


@pytest.mark.parametrize("page", range(1, PAGES + 2))
@pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "before the commit"])
async def test_a_list_killed_at_any_page_resumes_there_and_costs_at_most_one_more_call(
    sqlite_database, clock, tmp_path, monkeypatch, page, answered
):
    monkeypatch.setattr(backfill_athlete, "PER_PAGE", 5)
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    ids = history(engine, athlete, 5 * (PAGES - 1) + 2)
    await engine.connect(athlete)
    lists = 0

    def cut(request, after):
        nonlocal lists
        if request.url.endswith("/athlete/activities"):
            lists += not after
            if lists == page and after == answered:
                raise KilledError

    engine.app.transport.cut = cut
    with pytest.raises(KilledError):
        await run_one_by_one(engine)
    engine.app = engine.process()
    clock.advance(seconds=31)
    await engine.app.queue.rescue()
    await engine.work()
    assert engine.requests()[LIST] <= PAGES + 1 + 1  # the empty page, and one repeated
    assert engine.requests()[DETAIL] == len(ids)
    rows = await engine.rows(strava_activities, sync_status="synced")
    assert sorted(row.id for row in rows) == sorted(ids)
    (stored_athlete,) = await engine.rows(strava_athletes)
    assert (stored_athlete.initial_sync_found, stored_athlete.initial_sync_completed) == (len(ids), True)


async def test_a_backfill_larger_than_the_quota_resumes_in_the_next_window(sqlite_database, clock, tmp_path):
    """No page and no activity is requested twice."""
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path, limits=Limits(100, 2000, 50, 1000))
    ids = history(engine, athlete, 150)
    await engine.connect(athlete)
    for _ in range(5):
        await engine.advance_and_work(minutes=15, seconds=10)
    assert engine.requests()[LIST] == 2
    assert engine.requests()[DETAIL] == len(ids)
    assert engine.world.journal.answered_429 == 0
    (stored_athlete,) = await engine.rows(strava_athletes)
    assert stored_athlete.initial_sync_completed


async def test_a_full_backfill_completes_even_if_a_shorter_one_is_requested_meanwhile(
    sqlite_database, clock, tmp_path, monkeypatch
):
    """First `sync --all`, and after its first page `sync --days 1`."""
    monkeypatch.setattr(backfill_athlete, "PER_PAGE", 5)
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    ids = history(engine, athlete, 22)
    await engine.connect(athlete)
    await engine.app.athletes.sync(athlete, everything=True)
    (job,) = await engine.app.queue.lease(1, "w/1", 30)
    await engine.app.worker._executor.run(job)
    await engine.app.athletes.sync(athlete, days=1)
    await engine.work()
    assert {row.id for row in await engine.rows(strava_activities, sync_status="synced")} == ids
    assert engine.requests()[LIST] == 6
    (stored_athlete,) = await engine.rows(strava_athletes)
    assert (stored_athlete.initial_sync_found, stored_athlete.initial_sync_completed) == (len(ids), True)


async def test_reconnecting_duplicates_nothing_and_reports_no_old_activity_as_new(
    sqlite_database, clock, tmp_path
):
    """The athlete recorded 50 activities while disconnected."""
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    ids = history(engine, athlete, 20)
    await engine.connect(athlete)
    await engine.work()
    engine.world.deauthorize(athlete)
    await engine.deliver_announced()
    await engine.work()
    assert (await engine.app.queries.athletes.get(athlete)).status == "deauthorized"
    clock.advance(days=1)
    ids |= history(engine, athlete, 50)
    for _ in range(2):
        await engine.connect(athlete)
        await engine.work()
    rows = await engine.rows(strava_activities)
    assert sorted(row.id for row in rows) == sorted(ids)
    assert {(row.sync_status, row.webhook_received_at) for row in rows} == {("synced", None)}
    changes = await engine.rows(activity_changes)
    assert {change.cause for change in changes if change.kind != "left"} <= {"backfill"}


async def test_of_concurrent_sync_requests_the_longest_wins(database, clock, tmp_path):
    """Two operators or two processes request them, on either database."""
    engine, (athlete,) = make_engine(database, clock, tmp_path)
    await engine.connect(athlete)
    await engine.work()
    for _ in range(10):
        syncs = [engine.app.athletes.sync(athlete, everything=True)]
        syncs += [engine.app.athletes.sync(athlete, days=days) for days in (1, 400, 2)]
        await asyncio.gather(*syncs)
        (job,) = await engine.app.queue.lease(1, "w/1", 30)
        assert job.hint.after is None
        await engine.app.worker._executor.run(job)
        await engine.work()
