"""A comparison with Strava becomes rows, jobs and a finding, and only differences are fetched."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
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


def sweep(store, *records, missing=(), full=True, calls=2, athlete_id=OWNER):
    return StoreReconciliation(
        athlete_id,
        full,
        records,
        tuple(refresh(athlete_id, one.id) for one in records),
        tuple(confirm_deletion(athlete_id, number) for number in missing),
        calls,
    )


async def queued(store):
    return {row.key.partition(":")[2]: row for row in await store.rows(jobs)}


async def statuses(store):
    return {row.id: row.sync_status for row in await store.rows(strava_activities)}


# Rows and jobs


async def test_what_no_event_told_of_appears_at_once_and_is_fetched(store):
    """Pains 14 and 50."""
    await store.apply(sweep(store, summary(1), summary(2)))
    rows = await store.rows(strava_activities)
    assert [(row.id, row.name, row.sync_status) for row in rows] == [
        (1, "Morning Ride", "pending"),
        (2, "Morning Ride", "pending"),
    ]
    assert {job.lane for job in await store.lease()} == {Lane.RECONCILE}


async def test_an_edit_that_no_event_told_of_is_fetched_and_the_row_waits_for_the_truth(store):
    """Pains 18 and 53: a list may be older than the detail that we hold, so it overwrites nothing."""
    await store.apply(fetched(detail(1)), fetched(detail(2)))
    before = {row.id: row._asdict() for row in await store.rows(strava_activities)}
    await store.apply(sweep(store, summary(1, workout_type=1), summary(2)))
    after = {row.id: row._asdict() for row in await store.rows(strava_activities)}
    assert after == before | {1: before[1] | {"sync_status": "pending"}}
    assert set(await queued(store)) == {"1"}
    assert await store.edits() == []


async def test_an_unchanged_window_leaves_rows_and_queue_as_they_are(store):
    """Trap 13."""
    for number in range(1, 41):
        await store.apply(fetched(detail(number)))
    before = await store.rows(strava_activities)
    await store.apply(sweep(store, *(summary(number) for number in range(1, 41))))
    assert await store.rows(strava_activities) == before
    assert await store.rows(jobs) == []


async def test_what_a_full_list_lacks_is_asked_for_and_stays_until_strava_has_answered(store):
    """Pain 52."""
    await store.apply(fetched(detail(1)), fetched(detail(2)))
    before = await store.rows(strava_activities)
    await store.apply(sweep(store, summary(1), missing=[2]))
    assert await store.rows(strava_activities) == before
    job = await store.lease_one()
    assert (job.object_id, job.hint) == (2, RefreshHint("delete", cause="reconciliation"))
    await store.queue.finish(job, Done((Tombstone(2, OWNER, "reconciliation"),)))
    assert await statuses(store) == {1: "synced", 2: "deleted"}


async def test_what_was_left_unfinished_or_given_up_is_fetched_again(store):
    await store.apply(fetched(detail(1), complete=False), fetched(detail(2)), fetched(detail(3)))
    await store.apply(NoteFailure(2, OWNER, "502", final=True))
    await store.apply(sweep(store, summary(1), summary(2), summary(3)))
    assert set(await queued(store)) == {"1", "2"}
    assert await statuses(store) == {1: "pending", 2: "pending", 3: "synced"}


async def test_what_was_given_up_is_tried_again_by_a_full_comparison_and_not_by_each_quick_look(store):
    """Pains 41 and 48: four quick looks an hour at a poison activity would be 288 calls a day."""
    await store.apply(sweep(store, summary(1)), fetched(detail(2)))
    await store.run(Discard("500", if_last=(NoteFailure(1, OWNER, "500", final=True),)))
    await store.apply(NoteFailure(2, OWNER, "500", final=True))
    await store.apply(sweep(store, summary(1), summary(2, name="Renamed"), full=False))
    assert {row.key for row in await store.rows(jobs, state="queued")} == {"activity:2"}
    await store.apply(sweep(store, summary(1), summary(2, name="Renamed")))
    assert {row.key for row in await store.rows(jobs, state="queued")} == {"activity:1", "activity:2"}


async def test_a_tombstone_that_the_list_shows_is_fetched_before_it_comes_back(store):
    """Pain 23."""
    await store.apply(Tombstone(1, OWNER, "event:x"))
    await store.apply(sweep(store, summary(1)))
    assert await statuses(store) == {1: "deleted"}
    assert set(await queued(store)) == {"1"}


async def test_a_later_look_that_waits_comes_at_once_when_the_list_differs(store, clock):
    look = spec(
        1,
        hint=RefreshHint(cause="recheck", streams_only=True),
        lane=Lane.RECHECK,
        due_at=clock.now() + timedelta(hours=6),
    )
    await store.apply(fetched(detail(1)), streams(activity_id=1))
    await store.enqueue(look)
    await store.apply(sweep(store, summary(1, name="Renamed")))
    job = await store.lease_one()
    assert (job.hint, job.lane) == (RefreshHint(cause="reconciliation"), Lane.RECONCILE)


async def test_a_later_look_that_waits_still_waits_when_nothing_differs(store, clock):
    due = clock.now() + timedelta(hours=6)
    await store.apply(fetched(detail(1)))
    await store.enqueue(spec(1, hint=RefreshHint(cause="recheck"), lane=Lane.RECHECK, due_at=due))
    await store.apply(sweep(store, summary(1)))
    row = await store.row(jobs)
    assert (row.due_at, row.version) == (due, 1)


async def test_what_waits_as_part_of_a_history_keeps_its_place(store):
    """Else each comparison would take a month of it past what is kept for live work."""
    history = spec(1, hint=RefreshHint(cause="backfill"), lane=Lane.BACKFILL)
    await store.apply(StorePage(OWNER, (summary(1),), (history,)))
    await store.apply(sweep(store, summary(1), summary(2)))
    found = await queued(store)
    assert (found["1"].priority, found["1"].version, found["2"].priority) == (
        Lane.BACKFILL,
        2,
        Lane.RECONCILE,
    )


async def test_an_event_that_waits_keeps_its_hint_and_its_lane(store):
    await store.deliver(event(object_id=1, aspect_type="delete"))
    await store.apply(sweep(store, summary(1)))
    job = await store.lease_one()
    assert (job.lane, job.hint.action, job.hint.cause.startswith("event:")) == (Lane.LIVE, "delete", True)


async def test_an_event_that_comes_after_a_comparison_with_a_fast_clock_is_applied(store, clock):
    """Trap 14: what a comparison found carries no event time that could outrank a real event."""
    await store.apply(fetched(detail(1)))
    clock.advance(days=400)
    await store.apply(sweep(store, summary(1, name="Renamed")))
    clock.advance(days=-400)
    await store.deliver(retitled("Newer", object_id=1))
    assert (await store.row(strava_activities)).name == "Newer"
    assert (await store.lease_one()).hint.cause.startswith("event:")


async def test_streams_of_a_cropped_activity_are_known_to_be_stale_until_they_are_fetched(store):
    """Else the next look would find detail and shape unchanged, and keep the old streams for good."""
    await store.apply(fetched(detail(1), complete=False), streams(activity_id=1, blob=b"long"))
    await store.apply(fetched(detail(1, distance=9000.0, moving_time=1800), complete=False))
    row = await store.row(activity_streams)
    assert bytes(row.blob) == b"long"  # shown until there is something better
    assert row.state == "pending"


# What is noted of it


async def test_a_comparison_notes_what_it_found(store, clock):
    await store.apply(fetched(detail(1)), fetched(detail(2)), fetched(detail(3)))
    clock.advance(hours=1)
    await store.apply(sweep(store, summary(1), summary(2, name="x"), summary(4), missing=[3], calls=2))
    row = await store.row(reconciliations_table)
    assert (row.athlete_id, row.ended_at, row.is_full, row.calls) == (OWNER, clock.now(), True, 2)
    assert (row.listed, row.unannounced, row.changed, row.missing) == (3, 1, 1, 1)


@pytest.mark.parametrize(("ended_ago", "counted"), [(9, 0), (10, 0), (11, 1), (60 * 24 * 9, 1)])
async def test_what_ended_just_now_may_still_be_on_its_way_as_an_event(store, clock, ended_ago, counted):
    took = timedelta(seconds=4600)
    start = clock.now() - timedelta(minutes=ended_ago) - took
    await store.apply(sweep(store, summary(1, start_date=start, elapsed_time=4600)))
    assert (await store.row(reconciliations_table)).unannounced == counted
    assert set(await queued(store)) == {"1"}  # it is fetched either way


async def test_what_has_no_start_is_not_held_against_the_webhook(store):
    await store.apply(sweep(store, summary(1, start_date=None, elapsed_time=None)))
    assert (await store.row(reconciliations_table)).unannounced == 0


async def test_what_an_event_has_announced_is_not_held_against_the_webhook(store):
    """Its job may still wait for quota when the list is read."""
    await store.deliver(event(object_id=1))
    await store.apply(sweep(store, summary(1), summary(2)))
    assert (await store.row(reconciliations_table)).unannounced == 1


async def test_silent_edits_and_revivals_are_not_held_against_the_webhook(store):
    """Pain 18: Strava sends no event for most edits."""
    await store.apply(fetched(detail(1)), Tombstone(2, OWNER, "event:x"))
    await store.apply(sweep(store, summary(1, gear_id=None), summary(2)))
    row = await store.row(reconciliations_table)
    assert (row.unannounced, row.changed) == (0, 2)


async def test_unannounced_activities_are_counted_since_an_instant(store, clock):
    await store.apply(sweep(store, summary(1), summary(2)))
    clock.advance(hours=2)
    since = clock.now()
    await store.apply(sweep(store, summary(3)), sweep(store, summary(3)), sweep(store))
    assert await store.read(lambda c: reconciliations.unannounced_since(c, since)) == (1, 1)
    assert await store.read(lambda c: reconciliations.unannounced_since(c, since - timedelta(hours=2))) == (
        3,
        2,
    )
    assert await store.read(lambda c: reconciliations.unannounced_since(c, since + timedelta(hours=1))) == (
        0,
        0,
    )


async def test_only_a_full_comparison_says_that_all_is_verified(store, clock):
    await store.apply(sweep(store, summary(1), full=False, calls=1))
    assert (await store.row(strava_athletes, id=OWNER)).last_verified_at is None
    assert (await store.row(reconciliations_table)).is_full is False
    clock.advance(hours=1)
    await store.apply(sweep(store, summary(1)))
    assert (await store.row(strava_athletes, id=OWNER)).last_verified_at == clock.now()
    assert (await store.row(strava_athletes, id=OTHER)).last_verified_at is None


async def test_a_part_of_the_history_says_nothing_of_the_whole_nor_of_events(store, clock):
    """Pain 52: when it was recorded, nobody listened yet."""
    await store.apply(msgspec.structs.replace(sweep(store, summary(1)), last=False, latest=False))
    assert (await store.row(strava_athletes, id=OWNER)).last_verified_at is None
    assert (await store.row(reconciliations_table)).unannounced == 0
    assert set(await queued(store)) == {"1"}


async def test_a_comparison_and_all_that_it_causes_commit_together(store, monkeypatch):
    """kill -9 at any instant: nothing is verified whose differences are not enqueued."""
    await store.apply(fetched(detail(2)))
    await store.enqueue(spec(kind="reconcile_athlete", key=f"athlete:{OWNER}"))
    job = await store.lease_one()

    def killed(*_arguments):
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(reconciliations, "record", killed)
        with pytest.raises(SystemError):
            await store.queue.finish(job, Done((sweep(store, summary(1), missing=[2]),)))
    assert await statuses(store) == {2: "synced"}
    assert await store.rows(reconciliations_table) == []
    assert [row.kind for row in await store.rows(jobs)] == ["reconcile_athlete"]
    assert await store.queue.finish(job, Done((sweep(store, summary(1), missing=[2]),)))
    assert set(await queued(store)) == {"1", "2"}


async def test_another_athletes_rows_are_not_touched(store):
    """Pain 27."""
    await store.apply(fetched(detail(1, OTHER)))
    before = await store.rows(strava_activities, athlete_id=OTHER)
    await store.apply(sweep(store, summary(2)))
    assert await store.rows(strava_activities, athlete_id=OTHER) == before


# What it did not dare to decide


async def ask(store, *missing, athlete_id=OWNER, held=100):
    await store.apply(OpenConflict(athlete_id, missing, held))


async def resolve(store, conflict_id, status="accepted"):
    now = store.clock.now()
    return await store.write(lambda c: reconciliations.resolve(c, conflict_id, status, now))


async def test_a_doubt_is_asked_about_once_and_kept_up_to_date(store, clock):
    """Pain 52: a comparison that would delete too much stops and asks."""
    await ask(store, 1, 2, 3, 4)
    opened = clock.now()
    clock.advance(hours=6)
    await ask(store, 1, 2, 3, 4, 5, held=90)
    (row,) = await store.read(reconciliations.open_conflicts)
    assert (row.athlete_id, row.kind, row.status, row.opened_at) == (OWNER, "mass_deletion", "open", opened)
    assert msgspec.json.decode(row.detail) == {"missing": [1, 2, 3, 4, 5], "held": 90}


async def test_each_athlete_has_a_question_of_their_own(store):
    await ask(store, 1, 2, 3, 4)
    await ask(store, 9, athlete_id=OTHER)
    assert [row.athlete_id for row in await store.read(reconciliations.open_conflicts)] == [OWNER, OTHER]


@pytest.mark.parametrize("answer", ["accepted", "dismissed"])
async def test_a_question_is_answered_once(store, clock, answer):
    await ask(store, 1, 2, 3, 4)
    (row,) = await store.read(reconciliations.open_conflicts)
    clock.advance(hours=1)
    closed = await resolve(store, row.id, answer)
    assert (closed.id, closed.status, closed.resolved_at) == (row.id, answer, clock.now())
    assert await store.read(reconciliations.open_conflicts) == []
    assert await resolve(store, row.id) is None
    assert (await store.row(conflicts)).status == answer


async def test_an_answered_question_is_asked_again_only_when_more_is_missing(store):
    await ask(store, 1, 2, 3, 4)
    (first,) = await store.read(reconciliations.open_conflicts)
    await resolve(store, first.id, "dismissed")
    await ask(store, 1, 2, 3, 4)
    assert await store.read(reconciliations.open_conflicts) == []
    await ask(store, 1, 2, 3, 4, 5)
    (second,) = await store.read(reconciliations.open_conflicts)
    assert second.id != first.id


async def test_asking_changes_no_activity_and_enqueues_nothing(store):
    await store.apply(*(fetched(detail(number)) for number in range(1, 6)))
    before = await store.rows(strava_activities)
    await ask(store, 1, 2, 3, 4, 5, held=5)
    assert await store.rows(strava_activities) == before
    assert await store.rows(jobs) == []


async def test_what_was_missing_and_is_listed_again_answers_the_question(store):
    """Strava's list was short for an hour: nobody need decide about it afterwards."""
    listed = [summary(number) for number in range(1, 6)]
    await store.apply(*(fetched(detail(one.id)) for one in listed))
    await store.apply(sweep(store), OpenConflict(OWNER, (1, 2, 3, 4, 5), 5))
    await store.apply(sweep(store, *listed))
    assert await store.read(reconciliations.open_conflicts) == []


async def test_a_comparison_that_looks_elsewhere_answers_no_question(store):
    """Pain 52: what the last 30 days show says nothing of what is missing from years ago."""
    await store.apply(*(fetched(detail(number)) for number in range(1, 9)))
    await store.apply(sweep(store), OpenConflict(OWNER, (1, 2, 3, 4, 5), 8))
    await store.apply(sweep(store, summary(8)))
    (row,) = await store.read(reconciliations.open_conflicts)
    assert msgspec.json.decode(row.detail) == {"missing": [1, 2, 3, 4, 5], "held": 8}


async def test_a_question_is_about_what_is_still_missing_and_not_asked_for(store):
    await store.apply(*(fetched(detail(number)) for number in range(1, 9)))
    await store.apply(sweep(store), OpenConflict(OWNER, (1, 2, 3, 4, 5), 8), Tombstone(5, OWNER, "event:e"))
    await store.apply(sweep(store, summary(1), missing=(2,)), OpenConflict(OWNER, (6,), 7))
    (row,) = await store.read(reconciliations.open_conflicts)
    assert msgspec.json.decode(row.detail) == {"missing": [3, 4, 6], "held": 7}


async def test_an_unknown_question_cannot_be_answered(store):
    assert await resolve(store, "01a00000-0000-7000-8000-000000000000") is None
