"""A reconciliation stores rows, jobs and its result, and fetches only the differences."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace
from store_makers import OTHER, OWNER, detail, event, fetched, retitled, spec, streams, summary

from feedzone.domain.effect import NoteFailure, OpenConflict, StorePage, StoreReconciliation, Tombstone
from feedzone.domain.job import Lane, RefreshHint
from feedzone.domain.outcome import Discard, Done
from feedzone.domain.reconciliation import confirm_deletion, refresh
from feedzone.store import reconciliations
from feedzone.store.schema.tables import (
    activity_streams,
    conflicts,
    jobs,
    strava_activities,
    strava_athletes,
)
from feedzone.store.schema.tables import (
    reconciliations as reconciliations_table,
)


def result(store, *records, missing=(), full=True, calls=2, athlete_id=OWNER):
    return StoreReconciliation(
        athlete_id,
        full,
        records,
        tuple(refresh(athlete_id, record.id) for record in records),
        tuple(confirm_deletion(athlete_id, number) for number in missing),
        calls,
    )


async def queued(store):
    return {row.key.partition(":")[2]: row for row in await store.rows(jobs)}


async def statuses(store):
    return {row.id: row.sync_status for row in await store.rows(strava_activities)}


# Rows and jobs


async def test_an_unannounced_activity_is_stored_at_once_and_fetched(store):
    await store.apply(result(store, summary(1), summary(2)))
    rows = await store.rows(strava_activities)
    assert [(row.id, row.name, row.sync_status) for row in rows] == [
        (1, "Morning Ride", "pending"),
        (2, "Morning Ride", "pending"),
    ]
    assert {job.lane for job in await store.lease()} == {Lane.RECONCILE}


async def test_an_unannounced_edit_is_fetched_and_does_not_change_the_row_before(store):
    """A list may be older than the stored detail, so it overwrites nothing."""
    await store.apply(fetched(detail(1)), fetched(detail(2)))
    before = {row.id: row._asdict() for row in await store.rows(strava_activities)}
    await store.apply(result(store, summary(1, workout_type=1), summary(2)))
    after = {row.id: row._asdict() for row in await store.rows(strava_activities)}
    changed = {"sync_status": "pending", "accepted_difference": after[1]["accepted_difference"]}
    assert after == before | {1: before[1] | changed}
    assert set(await queued(store)) == {"1"}
    assert await store.edits() == []


async def test_an_unchanged_window_changes_neither_rows_nor_jobs(store):
    for number in range(1, 41):
        await store.apply(fetched(detail(number)))
    before = await store.rows(strava_activities)
    await store.apply(result(store, *(summary(number) for number in range(1, 41))))
    assert await store.rows(strava_activities) == before
    assert await store.rows(jobs) == []


async def test_an_unlisted_activity_stays_until_a_fetch_confirms_the_deletion(store):
    await store.apply(fetched(detail(1)), fetched(detail(2)))
    before = await store.rows(strava_activities)
    await store.apply(result(store, summary(1), missing=[2]))
    assert await store.rows(strava_activities) == before
    job = await store.lease_one()
    assert (job.object_id, job.hint) == (2, RefreshHint("delete", cause="reconciliation"))
    await store.queue.finish(job, Done((Tombstone(2, OWNER, "reconciliation"),)))
    assert await statuses(store) == {1: "synced", 2: "deleted"}


async def test_a_quick_look_fetches_an_unfinished_activity(store):
    await store.apply(fetched(detail(1), complete=False), fetched(detail(2)))
    await store.apply(result(store, summary(1), summary(2), full=False))
    assert set(await queued(store)) == {"1"}


async def test_what_list_and_detail_disagree_about_is_doubted_again_only_with_everything(store):
    listed, agreeing = result(store, summary(1, name="As listed")), result(store, summary(1))
    await store.apply(fetched(detail(1)))
    doubted = replace(listed, everything=True)
    for again, fetches in ((listed, 1), (listed, 0), (doubted, 1), (agreeing, 0), (listed, 1)):
        await store.apply(again)
        assert len(await store.rows(jobs)) == fetches
        for job in await store.lease():
            await store.queue.finish(job, Done((fetched(detail(1)), streams())))


async def test_unfinished_and_failed_activities_are_fetched_again(store):
    await store.apply(fetched(detail(1), complete=False), fetched(detail(2)), fetched(detail(3)))
    await store.apply(NoteFailure(2, OWNER, "502", final=True))
    await store.apply(result(store, summary(1), summary(2), summary(3)))
    assert set(await queued(store)) == {"1", "2"}
    assert await statuses(store) == {1: "pending", 2: "pending", 3: "synced"}


async def test_only_a_full_reconciliation_retries_a_failed_activity(store):
    """Fetching a permanently failing activity four times an hour would cost 288 calls a day."""
    await store.apply(result(store, summary(1)), fetched(detail(2)))
    await store.run(Discard("500", if_last=(NoteFailure(1, OWNER, "500", final=True),)))
    await store.apply(NoteFailure(2, OWNER, "500", final=True))
    await store.apply(result(store, summary(1), summary(2, name="Renamed"), full=False))
    assert {row.key for row in await store.rows(jobs, state="queued")} == {"activity:2"}
    await store.apply(result(store, summary(1), summary(2, name="Renamed")))
    assert {row.key for row in await store.rows(jobs, state="queued")} == {"activity:1", "activity:2"}


async def test_a_listed_tombstone_is_fetched_before_the_activity_is_restored(store):
    await store.apply(Tombstone(1, OWNER, "event:x"))
    await store.apply(result(store, summary(1)))
    assert await statuses(store) == {1: "deleted"}
    assert set(await queued(store)) == {"1"}


async def test_a_waiting_recheck_runs_at_once_when_the_list_differs(store, clock):
    recheck = spec(
        1,
        hint=RefreshHint(cause="recheck", streams_only=True),
        lane=Lane.RECHECK,
        due_at=clock.now() + timedelta(hours=6),
    )
    await store.apply(fetched(detail(1)), streams(activity_id=1))
    await store.enqueue(recheck)
    await store.apply(result(store, summary(1, name="Renamed")))
    job = await store.lease_one()
    assert (job.hint, job.lane) == (RefreshHint(cause="reconciliation"), Lane.RECONCILE)


async def test_a_waiting_recheck_keeps_its_time_when_nothing_differs(store, clock):
    due = clock.now() + timedelta(hours=6)
    await store.apply(fetched(detail(1)))
    await store.enqueue(spec(1, hint=RefreshHint(cause="recheck"), lane=Lane.RECHECK, due_at=due))
    await store.apply(result(store, summary(1)))
    row = await store.row(jobs)
    assert (row.due_at, row.version) == (due, 1)


async def test_a_job_in_the_backfill_lane_stays_there(store):
    """Otherwise each reconciliation would move a month of jobs past the reserve for live work."""
    history = spec(1, hint=RefreshHint(cause="backfill"), lane=Lane.BACKFILL)
    await store.apply(StorePage(OWNER, (summary(1),), (history,)))
    await store.apply(result(store, summary(1), summary(2)))
    by_activity = await queued(store)
    assert (by_activity["1"].priority, by_activity["1"].version, by_activity["2"].priority) == (
        Lane.BACKFILL,
        2,
        Lane.RECONCILE,
    )


async def test_a_job_of_an_event_keeps_its_hint_and_its_lane(store):
    await store.deliver(event(object_id=1, aspect_type="delete"))
    await store.apply(result(store, summary(1)))
    job = await store.lease_one()
    assert (job.lane, job.hint.action, job.hint.cause.startswith("event:")) == (Lane.LIVE, "delete", True)


async def test_an_event_after_a_reconciliation_with_a_fast_clock_is_applied(store, clock):
    """The hint of a reconciliation has no event time that could be newer than a real event."""
    await store.apply(fetched(detail(1)))
    clock.advance(days=400)
    await store.apply(result(store, summary(1, name="Renamed")))
    clock.advance(days=-400)
    await store.deliver(retitled("Newer", object_id=1))
    assert (await store.row(strava_activities)).name == "Newer"
    assert (await store.lease_one()).hint.cause.startswith("event:")


async def test_streams_of_a_cropped_activity_are_pending_until_they_are_fetched(store):
    """Otherwise the next check would see an unchanged detail and shape, and keep the old streams forever."""
    await store.apply(fetched(detail(1), complete=False), streams(activity_id=1, blob=b"long"))
    await store.apply(fetched(detail(1, distance=9000.0, moving_time=1800), complete=False))
    row = await store.row(activity_streams)
    assert bytes(row.blob) == b"long"  # shown until the new ones are stored
    assert row.state == "pending"


# The recorded result


async def test_a_reconciliation_records_its_result(store, clock):
    await store.apply(fetched(detail(1)), fetched(detail(2)), fetched(detail(3)))
    clock.advance(hours=1)
    await store.apply(result(store, summary(1), summary(2, name="x"), summary(4), missing=[3], calls=2))
    row = await store.row(reconciliations_table)
    assert (row.athlete_id, row.ended_at, row.is_full, row.calls) == (OWNER, clock.now(), True, 2)
    assert (row.listed, row.unannounced, row.changed, row.missing) == (3, 1, 1, 1)


@pytest.mark.parametrize(("ended_ago", "counted"), [(9, 0), (10, 0), (11, 1), (60 * 24 * 9, 1)])
async def test_an_activity_that_ended_within_ten_minutes_does_not_count_as_unannounced(
    store, clock, ended_ago, counted
):
    took = timedelta(seconds=4600)
    start = clock.now() - timedelta(minutes=ended_ago) - took
    await store.apply(result(store, summary(1, start_date=start, elapsed_time=4600)))
    assert (await store.row(reconciliations_table)).unannounced == counted
    assert set(await queued(store)) == {"1"}  # it is fetched in both cases


async def test_an_activity_without_a_start_does_not_count_as_unannounced(store):
    await store.apply(result(store, summary(1, start_date=None, elapsed_time=None)))
    assert (await store.row(reconciliations_table)).unannounced == 0


async def test_an_announced_activity_does_not_count_as_unannounced(store):
    """Its job may still wait for quota when the list is read."""
    await store.deliver(event(object_id=1))
    await store.apply(result(store, summary(1), summary(2)))
    assert (await store.row(reconciliations_table)).unannounced == 1


async def test_edited_and_restored_activities_do_not_count_as_unannounced(store):
    """Strava sends no event for most edits (docs/strava-api.md#webhook-events)."""
    await store.apply(fetched(detail(1)), Tombstone(2, OWNER, "event:x"))
    await store.apply(result(store, summary(1, gear_id=None), summary(2)))
    row = await store.row(reconciliations_table)
    assert (row.unannounced, row.changed) == (0, 2)


async def test_unannounced_activities_are_counted_since_an_instant(store, clock):
    await store.apply(result(store, summary(1), summary(2)))
    clock.advance(hours=2)
    since = clock.now()
    await store.apply(result(store, summary(3)), result(store, summary(3)), result(store))
    assert await store.read(lambda c: reconciliations.unannounced_since(c, since)) == (1, 1)
    assert await store.read(lambda c: reconciliations.unannounced_since(c, since - timedelta(hours=2))) == (
        3,
        2,
    )
    assert await store.read(lambda c: reconciliations.unannounced_since(c, since + timedelta(hours=1))) == (
        0,
        0,
    )


async def test_only_a_full_reconciliation_sets_the_verification_time(store, clock):
    await store.apply(result(store, summary(1), full=False, calls=1))
    assert (await store.row(strava_athletes, id=OWNER)).last_verified_at is None
    assert (await store.row(reconciliations_table)).is_full is False
    clock.advance(hours=1)
    await store.apply(result(store, summary(1)))
    assert (await store.row(strava_athletes, id=OWNER)).last_verified_at == clock.now()
    assert (await store.row(strava_athletes, id=OTHER)).last_verified_at is None


async def test_a_part_of_the_past_sets_no_verification_time_and_counts_no_missing_events(store, clock):
    """No webhook existed when these activities were recorded."""
    await store.apply(msgspec.structs.replace(result(store, summary(1)), last=False, latest=False))
    assert (await store.row(strava_athletes, id=OWNER)).last_verified_at is None
    assert (await store.row(reconciliations_table)).unannounced == 0
    assert set(await queued(store)) == {"1"}


async def test_a_reconciliation_and_its_jobs_commit_together(store, monkeypatch):
    """After kill -9 at any instant, no window counts as verified whose differences are not enqueued."""
    await store.apply(fetched(detail(2)))
    await store.enqueue(spec(kind="reconcile_athlete", key=f"athlete:{OWNER}"))
    job = await store.lease_one()

    def killed(*_arguments):
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(reconciliations, "record", killed)
        with pytest.raises(SystemError):
            await store.queue.finish(job, Done((result(store, summary(1), missing=[2]),)))
    assert await statuses(store) == {2: "synced"}
    assert await store.rows(reconciliations_table) == []
    assert [row.kind for row in await store.rows(jobs)] == ["reconcile_athlete"]
    assert await store.queue.finish(job, Done((result(store, summary(1), missing=[2]),)))
    assert set(await queued(store)) == {"1", "2"}


async def test_another_athletes_rows_are_not_touched(store):
    await store.apply(fetched(detail(1, OTHER)))
    before = await store.rows(strava_activities, athlete_id=OTHER)
    await store.apply(result(store, summary(2)))
    assert await store.rows(strava_activities, athlete_id=OTHER) == before


# Conflicts


async def open_conflict(store, *missing, athlete_id=OWNER, stored=100):
    await store.apply(OpenConflict(athlete_id, missing, stored))


async def resolve(store, conflict_id, status="accepted"):
    now = store.clock.now()
    return await store.write(lambda c: reconciliations.resolve(c, conflict_id, status, now))


async def test_a_conflict_is_opened_once_and_kept_up_to_date(store, clock):
    """A reconciliation that would delete too much waits for a decision."""
    await open_conflict(store, 1, 2, 3, 4)
    opened = clock.now()
    clock.advance(hours=6)
    await open_conflict(store, 1, 2, 3, 4, 5, stored=90)
    (row,) = await store.read(reconciliations.open_conflicts)
    assert (row.athlete_id, row.kind, row.status, row.opened_at) == (OWNER, "mass_deletion", "open", opened)
    assert msgspec.json.decode(row.detail) == {"missing": [1, 2, 3, 4, 5], "held": 90}


async def test_each_athlete_has_a_separate_conflict(store):
    await open_conflict(store, 1, 2, 3, 4)
    await open_conflict(store, 9, athlete_id=OTHER)
    assert [row.athlete_id for row in await store.read(reconciliations.open_conflicts)] == [OWNER, OTHER]


@pytest.mark.parametrize("answer", ["accepted", "dismissed"])
async def test_a_conflict_is_resolved_once(store, clock, answer):
    await open_conflict(store, 1, 2, 3, 4)
    (row,) = await store.read(reconciliations.open_conflicts)
    clock.advance(hours=1)
    closed = await resolve(store, row.id, answer)
    assert (closed.id, closed.status, closed.resolved_at) == (row.id, answer, clock.now())
    assert await store.read(reconciliations.open_conflicts) == []
    assert await resolve(store, row.id) is None
    assert (await store.row(conflicts)).status == answer


async def test_a_dismissed_conflict_is_opened_again_only_when_more_is_missing(store):
    await open_conflict(store, 1, 2, 3, 4)
    (first,) = await store.read(reconciliations.open_conflicts)
    await resolve(store, first.id, "dismissed")
    await open_conflict(store, 1, 2, 3, 4)
    assert await store.read(reconciliations.open_conflicts) == []
    await open_conflict(store, 1, 2, 3, 4, 5)
    (second,) = await store.read(reconciliations.open_conflicts)
    assert second.id != first.id


async def test_opening_a_conflict_changes_no_activity_and_enqueues_nothing(store):
    await store.apply(*(fetched(detail(number)) for number in range(1, 6)))
    before = await store.rows(strava_activities)
    await open_conflict(store, 1, 2, 3, 4, 5, stored=5)
    assert await store.rows(strava_activities) == before
    assert await store.rows(jobs) == []


async def test_a_conflict_is_settled_when_its_activities_are_listed_again(store):
    """Strava's list was incomplete for an hour: no decision is needed afterwards."""
    listed = [summary(number) for number in range(1, 6)]
    await store.apply(*(fetched(detail(record.id)) for record in listed))
    await store.apply(result(store), OpenConflict(OWNER, (1, 2, 3, 4, 5), 5))
    await store.apply(result(store, *listed))
    assert await store.read(reconciliations.open_conflicts) == []


async def test_a_reconciliation_of_another_window_does_not_settle_a_conflict(store):
    """The last 30 days do not show whether older activities are missing."""
    await store.apply(*(fetched(detail(number)) for number in range(1, 9)))
    await store.apply(result(store), OpenConflict(OWNER, (1, 2, 3, 4, 5), 8))
    await store.apply(result(store, summary(8)))
    (row,) = await store.read(reconciliations.open_conflicts)
    assert msgspec.json.decode(row.detail) == {"missing": [1, 2, 3, 4, 5], "held": 8}


async def test_a_conflict_keeps_only_missing_activities_that_no_job_checks(store):
    await store.apply(*(fetched(detail(number)) for number in range(1, 9)))
    await store.apply(result(store), OpenConflict(OWNER, (1, 2, 3, 4, 5), 8), Tombstone(5, OWNER, "event:e"))
    await store.apply(result(store, summary(1), missing=(2,)), OpenConflict(OWNER, (6,), 7))
    (row,) = await store.read(reconciliations.open_conflicts)
    assert msgspec.json.decode(row.detail) == {"missing": [3, 4, 6], "held": 7}


async def test_an_unknown_conflict_cannot_be_resolved(store):
    assert await resolve(store, "01a00000-0000-7000-8000-000000000000") is None
