"""A first sync that is interrupted, repeated, or begun anew: complete, once each, and never news."""

from __future__ import annotations

import asyncio

import pytest
from engine import DETAIL, LIST, Engine, make_engine

from feedzone.handlers import backfill_athlete
from feedzone.sandbox import Limits
from feedzone.store.schema.tables import activity_changes, strava_activities, strava_athletes

PAGES = 4
"""Of five, the last one short; a page that is empty follows."""


class KilledError(BaseException):
    """Stands for SIGKILL: no handler of the process may see it."""


def history(engine: Engine, athlete: int, count: int) -> set[int]:
    now = engine.world.clock()
    starts = (now - 3600 * (number + 48) for number in range(count))
    return {engine.world.record(athlete, minutes=5, manual=True, start=start).id for start in starts}


async def run_one_by_one(engine: Engine) -> None:
    """As a process does that is about to die."""
    while True:
        (job,) = await engine.app.queue.lease(1, "dead/1", 30)
        await engine.app.worker._executor.run(job)


@pytest.mark.parametrize("page", range(1, PAGES + 2))
@pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "before the commit"])
async def test_killed_at_any_page_the_list_goes_on_there_and_costs_one_call_more_at_most(
    sqlite_database, clock, tmp_path, monkeypatch, page, answered
):
    """Pain 46."""
    monkeypatch.setattr(backfill_athlete, "PER_PAGE", 5)
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    ids = history(engine, athlete, 5 * (PAGES - 1) + 2)
    await engine.connect(athlete)
    lists = 0

    def cut(asked, after):
        nonlocal lists
        if asked.url.endswith("/athlete/activities"):
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
    assert engine.asked()[LIST] <= PAGES + 1 + 1  # the empty page, and one more
    assert engine.asked()[DETAIL] == len(ids)
    rows = await engine.rows(strava_activities, sync_status="synced")
    assert sorted(row.id for row in rows) == sorted(ids)
    (found,) = await engine.rows(strava_athletes)
    assert (found.initial_sync_found, found.initial_sync_completed) == (len(ids), True)


async def test_a_history_larger_than_the_quota_goes_on_in_the_next_window_where_it_stopped(
    sqlite_database, clock, tmp_path
):
    """Pain 46: no page and no activity is asked for twice."""
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path, limits=Limits(100, 2000, 50, 1000))
    ids = history(engine, athlete, 150)
    await engine.connect(athlete)
    for _ in range(5):
        await engine.pass_by(minutes=15, seconds=10)
    assert engine.asked()[LIST] == 2
    assert engine.asked()[DETAIL] == len(ids)
    assert engine.world.journal.answered_429 == 0
    (found,) = await engine.rows(strava_athletes)
    assert found.initial_sync_completed


async def test_a_whole_history_is_complete_although_less_was_asked_for_meanwhile(
    sqlite_database, clock, tmp_path, monkeypatch
):
    """Pain 46: `sync --all`, and after its first page `sync --days 1`."""
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
    assert engine.asked()[LIST] == 6
    (found,) = await engine.rows(strava_athletes)
    assert (found.initial_sync_found, found.initial_sync_completed) == (len(ids), True)


async def test_who_connects_again_has_nothing_twice_and_nothing_of_it_is_news(
    sqlite_database, clock, tmp_path
):
    """Pain 40: 50 activities came while the athlete was away."""
    engine, (athlete,) = make_engine(sqlite_database, clock, tmp_path)
    ids = history(engine, athlete, 20)
    await engine.connect(athlete)
    await engine.work()
    engine.world.deauthorize(athlete)
    await engine.hear()
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
    causes = {change.cause for change in await engine.rows(activity_changes)}
    assert causes <= {"backfill"}


async def test_of_syncs_asked_for_at_the_same_instant_the_longest_is_done(database, clock, tmp_path):
    """Pain 46: by two operators, or by two processes, on either database."""
    engine, (athlete,) = make_engine(database, clock, tmp_path)
    await engine.connect(athlete)
    await engine.work()
    for _ in range(10):
        asked = [engine.app.athletes.sync(athlete, everything=True)]
        asked += [engine.app.athletes.sync(athlete, days=days) for days in (1, 400, 2)]
        await asyncio.gather(*asked)
        (job,) = await engine.app.queue.lease(1, "w/1", 30)
        assert job.hint.after is None
        await engine.app.worker._executor.run(job)
        await engine.work()
