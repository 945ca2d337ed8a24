"""A backfill stores a page of the list, its jobs and the cursor in one transaction."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from store_makers import OTHER, OWNER, detail, event, fetched, spec, streams, summary

from feedzone.domain.effect import FinishListing, NoteFailure, StorePage, Tombstone
from feedzone.domain.job import BackfillHint, Lane, RefreshHint
from feedzone.domain.outcome import Continue, Done
from feedzone.domain.quota.windows import DEFAULT_LIMITS
from feedzone.store import athletes, effects
from feedzone.store.reads import jobs as job_lists
from feedzone.store.schema.tables import jobs, strava_activities, strava_athletes


def page(*ids, athlete_id=OWNER, **columns):
    records = tuple(summary(n, athlete_id, **columns) for n in ids)
    specs = tuple(
        spec(n, athlete_id=athlete_id, hint=RefreshHint(cause="backfill"), lane=Lane.BACKFILL, rank=-n)
        for n in ids
    )
    return StorePage(athlete_id, records, specs)


@pytest.fixture
async def syncing(store, clock):
    """A store in which the backfill of OWNER has begun."""
    now = clock.now()
    await store.write(lambda c: athletes.begin_sync(c, OWNER, now - timedelta(days=30), now))
    return store


async def athlete(store):
    return await store.row(strava_athletes, id=OWNER)


async def sync_statuses(store):
    return {row.id: row.sync_status for row in await store.rows(strava_activities)}


async def queued(store):
    return {row.key for row in await store.rows(jobs)}


async def test_a_new_backfill_resets_the_progress_of_the_previous_one(syncing, clock):
    await syncing.apply(page(1), FinishListing(OWNER))
    now = clock.now()
    await syncing.write(lambda c: athletes.begin_sync(c, OWNER, None, now))
    row = await athlete(syncing)
    assert (row.initial_sync_cursor, row.initial_sync_found, row.initial_sync_after) == (0, 0, None)
    assert (row.initial_sync_listed, row.initial_sync_completed) == (False, False)


async def test_activities_of_a_page_are_stored_at_once_with_one_job_each(syncing):
    await syncing.apply(page(1, 2))
    rows = await syncing.rows(strava_activities)
    assert [(row.id, row.name, row.sync_status) for row in rows] == [
        (1, "Morning Ride", "pending"),
        (2, "Morning Ride", "pending"),
    ]
    assert [job.object_id for job in await syncing.lease()] == [2, 1]  # as ranked: newest first


async def test_only_activities_that_differ_are_fetched(syncing):
    await syncing.apply(fetched(detail(1)), fetched(detail(2)))
    await syncing.apply(page(1, 3))
    assert await queued(syncing) == {"activity:3"}
    assert await sync_statuses(syncing) == {1: "synced", 2: "synced", 3: "pending"}


async def test_a_page_that_is_stored_twice_is_stored_once(syncing):
    await syncing.apply(page(1, 2))
    await syncing.apply(page(1, 2))
    assert len(await syncing.rows(strava_activities)) == 2
    assert await queued(syncing) == {"activity:1", "activity:2"}


async def test_cursor_and_count_move_with_each_page(syncing):
    await syncing.apply(page(1, 2, 3))
    await syncing.apply(page(4))
    row = await athlete(syncing)
    assert (row.initial_sync_cursor, row.initial_sync_found) == (2, 4)
    assert (await syncing.row(strava_athletes, id=OTHER)).initial_sync_found == 0


async def test_a_page_that_is_listed_again_counts_only_its_new_activities(syncing):
    """A deletion at Strava moves an activity of the next page into this one."""
    await syncing.apply(page(1, 2, 3))
    await syncing.apply(msgspec.structs.replace(page(2, 3, 4), again=True))
    row = await athlete(syncing)
    assert (row.initial_sync_cursor, row.initial_sync_found) == (1, 4)
    assert await queued(syncing) == {"activity:1", "activity:2", "activity:3", "activity:4"}


async def test_a_page_its_jobs_its_cursor_and_the_next_page_commit_together(syncing, clock, monkeypatch):
    """After kill -9 at any instant, no page is skipped and none is counted twice."""
    hint = BackfillHint(before=2, page=2)
    await syncing.enqueue(spec(kind="backfill_athlete", key=f"athlete:{OWNER}", hint=BackfillHint(before=2)))
    job = await syncing.lease_one()
    ending = Continue((page(1, 2),), hint)
    advance = athletes.advance_sync

    def killed(*arguments):
        advance(*arguments)
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(effects.athletes, "advance_sync", killed)
        with pytest.raises(SystemError):
            await syncing.queue.finish(job, ending)
    assert await syncing.rows(strava_activities) == []
    assert (await athlete(syncing)).initial_sync_found == 0
    assert len(await syncing.rows(jobs)) == 1
    assert await syncing.queue.finish(job, ending)
    assert (await athlete(syncing)).initial_sync_found == 2
    again = next(candidate for candidate in await syncing.lease() if candidate.kind == "backfill_athlete")
    assert (again.hint, again.attempts) == (hint, 0)


async def test_a_listed_activity_that_an_event_announced_stays_in_the_live_lane(syncing):
    await syncing.deliver(event(object_id=1))
    await syncing.apply(page(1))
    job = await syncing.lease_one()
    assert (job.lane, job.hint.cause.startswith("event:")) == (Lane.LIVE, True)


async def test_the_backfill_is_complete_when_all_is_listed_and_no_activity_is_pending(syncing, clock):
    await syncing.apply(page(1, 2))
    await syncing.apply(fetched(detail(1), complete=False), streams(activity_id=1))
    await syncing.apply(FinishListing(OWNER))
    assert not (await athlete(syncing)).initial_sync_completed
    clock.advance(minutes=7)
    await syncing.apply(fetched(detail(2), complete=False), streams(activity_id=2))
    row = await athlete(syncing)
    assert (row.initial_sync_completed, row.initial_sync_completed_at) == (True, clock.now())


@pytest.mark.parametrize(
    "ending",
    [fetched(detail(1)), Tombstone(1, OWNER, "backfill"), NoteFailure(1, OWNER, "500", final=True)],
    ids=["fetched", "gone", "dead letter"],
)
async def test_the_backfill_is_complete_however_its_last_activity_ends(syncing, ending):
    await syncing.apply(page(1), FinishListing(OWNER))
    await syncing.apply(ending)
    assert (await athlete(syncing)).initial_sync_completed


@pytest.mark.parametrize(
    "pause",
    [fetched(detail(1), complete=False), NoteFailure(1, OWNER, "502")],
    ids=["detail without streams", "failed attempt"],
)
async def test_the_backfill_is_not_complete_while_an_activity_is_pending(syncing, pause):
    await syncing.apply(page(1), FinishListing(OWNER))
    await syncing.apply(pause)
    assert not (await athlete(syncing)).initial_sync_completed


async def test_the_backfill_is_not_complete_before_the_list_has_ended(syncing):
    await syncing.apply(page(1))
    await syncing.apply(fetched(detail(1)))
    assert not (await athlete(syncing)).initial_sync_completed


async def test_an_athlete_without_activities_is_complete_once_listed(syncing):
    await syncing.apply(FinishListing(OWNER))
    row = await athlete(syncing)
    assert (row.initial_sync_listed, row.initial_sync_completed, row.initial_sync_found) == (True, True, 0)


async def test_pending_activities_of_another_athlete_do_not_delay_completion(syncing):
    await syncing.apply(page(9, athlete_id=OTHER), FinishListing(OWNER))
    assert (await athlete(syncing)).initial_sync_completed
    assert not (await syncing.row(strava_athletes, id=OTHER)).initial_sync_completed


async def test_a_complete_backfill_keeps_its_completion_time(syncing, clock):
    await syncing.apply(FinishListing(OWNER))
    completed = clock.now()
    clock.advance(days=1)
    await syncing.apply(fetched(detail(1)))
    assert (await athlete(syncing)).initial_sync_completed_at == completed


async def test_a_page_of_two_hundred_activities_is_stored_and_fetched(syncing, clock):
    """The rate limit bounds how many jobs are leased; the rest is due when calls are left again."""
    await syncing.apply(page(*range(1, 201)), FinishListing(OWNER))
    leased_counts = []
    while (due := await syncing.queue.next_due()) is not None:
        clock.advance(seconds=max(0.0, (due - clock.now()).total_seconds()))
        leased = await syncing.lease(limit=500)
        for job in leased:
            await syncing.queue.finish(job, Done((fetched(detail(job.object_id)),)))
        leased_counts.append(len(leased))
    assert sum(leased_counts) == 200
    assert 0 < max(leased_counts) <= DEFAULT_LIMITS["read_15min"]
    assert await syncing.read(job_lists.counts) == {}
    assert (await athlete(syncing)).initial_sync_completed
