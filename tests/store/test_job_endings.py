"""The effects of a run and its completion commit together, and only with a valid lease."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import ACTIVITY, EVENT_TIME, OWNER, detail, event, fetched, retitled, spec

from feedzone.domain.effect import NoteFailure
from feedzone.domain.job import RefreshHint
from feedzone.domain.outcome import Continue, Discard, Done, Retry, Snooze
from feedzone.store import effects
from feedzone.store.reads import jobs as job_lists
from feedzone.store.schema.tables import jobs, strava_activities, webhook_events

FAILED = NoteFailure(ACTIVITY, OWNER, "502")
FAILED_FOR_GOOD = NoteFailure(ACTIVITY, OWNER, "502", final=True)


async def test_done_removes_the_job_completes_its_events_and_stores_the_activity(store, clock):
    await store.deliver(event(), retitled("New"))
    clock.advance(seconds=3)
    await store.run(Done((fetched(detail()),)))
    assert await store.rows(jobs) == []
    events = await store.rows(webhook_events)
    assert [(row.status, row.processed_at, row.error_message) for row in events] == [
        ("completed", clock.now(), None)
    ] * 2
    assert (await store.row(strava_activities)).name == "Morning Ride"


async def test_the_note_of_an_unusual_ending_is_stored_with_the_event(store):
    await store.deliver(event())
    await store.run(Done(note="not_visible"))
    stored_event = await store.row(webhook_events)
    assert (stored_event.status, stored_event.error_message) == ("completed", "not_visible")


async def test_the_note_about_a_forged_delete_is_not_stored_with_genuine_events(store):
    await store.deliver(event(), retitled("New"), event(aspect_type="delete", event_time=EVENT_TIME + 9))
    await store.run(Done((fetched(detail()),), "forged", about="delete"))
    notes = {row.aspect_type: row.error_message for row in await store.rows(webhook_events)}
    assert notes == {"create": None, "update": None, "delete": "forged"}


async def lose_to_expiry(store, job):
    store.clock.advance(minutes=2)
    assert await store.queue.rescue() == 1


async def lose_to_another(store, job):
    await lose_to_expiry(store, job)
    await store.lease_one(owner="other/1")


async def lose_to_its_end(store, job):
    await lose_to_another(store, job)
    await store.write(lambda c: c.execute(jobs.delete()))


@pytest.mark.parametrize("lose", [lose_to_expiry, lose_to_another, lose_to_its_end])
@pytest.mark.parametrize(
    "ending",
    [
        Done((fetched(detail()),)),
        Retry("late", (fetched(detail()),)),
        Discard("late", (fetched(detail()),)),
    ],
    ids=["done", "retry", "discard"],
)
async def test_a_run_that_lost_its_lease_changes_nothing(store, lose, ending):
    await store.deliver(event())
    job = await store.lease_one()
    await lose(store, job)
    before = await store.rows(jobs), await store.rows(webhook_events)
    assert await store.queue.finish(job, ending) is False
    assert (await store.rows(jobs), await store.rows(webhook_events)) == before
    assert await store.rows(strava_activities) == []


async def test_a_run_cannot_end_twice(store):
    await store.deliver(event())
    job = await store.run(Retry("502"))
    assert await store.queue.finish(job, Done((fetched(detail()),))) is False
    assert await store.rows(strava_activities) == []


async def test_an_effect_that_cannot_be_written_rolls_the_complete_ending_back(store, monkeypatch):
    await store.deliver(event())
    job = await store.lease_one()
    genuine = effects.apply

    def broken(connection, batch, now):
        genuine(connection, batch, now)
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(effects, "apply", broken)
    with pytest.raises(RuntimeError):
        await store.queue.finish(job, Done((fetched(detail()),)))
    assert (await store.row(jobs)).state == "running"
    assert (await store.row(webhook_events)).status == "processing"
    assert await store.rows(strava_activities) == []


async def test_an_event_during_the_run_makes_the_job_run_again(store):
    await store.deliver(event())
    job = await store.lease_one()
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    assert await store.queue.finish(job, Done((fetched(detail()),)))
    statuses = {row.aspect_type: row.status for row in await store.rows(webhook_events)}
    assert statuses == {"create": "completed", "update": "pending"}
    again = await store.lease_one()
    assert (again.id, again.version, again.attempts) == (job.id, 2, 0)
    await store.queue.finish(again, Done())
    assert {row.status for row in await store.rows(webhook_events)} == {"completed"}


async def test_an_event_during_the_run_leaves_further_jobs_to_the_next_run(store):
    await store.deliver(event())
    job = await store.lease_one()
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    await store.queue.finish(job, Done(then=(spec(77),)))
    assert [row.id for row in await store.rows(jobs)] == [job.id]
    await store.queue.finish(await store.lease_one(), Done(then=(spec(77),)))
    assert [row.key for row in await store.rows(jobs)] == ["activity:77"]


async def test_a_delete_during_the_run_of_its_create_is_not_lost(store):
    await store.deliver(event())
    job = await store.lease_one()
    await store.deliver(event(aspect_type="delete", event_time=EVENT_TIME + 5))
    await store.queue.finish(job, Done((fetched(detail()),)))
    assert (await store.lease_one()).hint.action == "delete"


async def test_waiting_a_day_costs_the_job_no_attempt(store, clock):
    await store.deliver(event())
    for _ in range(96):  # a day without quota
        await store.run(Snooze(clock.now() + timedelta(minutes=15), "quota"))
        clock.advance(minutes=15)
    row = await store.row(jobs)
    assert (row.state, row.attempts, row.last_error) == ("queued", 0, "quota")
    assert (await store.row(webhook_events)).status == "pending"


async def test_waiting_costs_the_event_no_attempt_either(store, clock):
    await store.deliver(event())
    for _ in range(3):
        await store.run(Snooze(clock.now(), "quota"))
    await store.lease_one()
    assert (await store.row(webhook_events)).attempts == 1


async def test_a_snoozed_job_waits_until_its_time(store, clock):
    until = clock.now() + timedelta(minutes=15)
    await store.enqueue(spec())
    await store.run(Snooze(until, "quota"))
    assert await store.lease() == []
    clock.advance(minutes=15)
    assert (await store.lease_one()).attempts == 0


async def test_a_snooze_can_say_where_the_next_run_continues(store, clock):
    await store.enqueue(spec())
    await store.run(Snooze(clock.now(), "quota", hint=RefreshHint(detail_version=1)))
    assert (await store.lease_one()).hint == RefreshHint(detail_version=1)


async def test_a_continued_job_is_due_at_once_with_all_its_attempts(store, clock):
    await store.deliver(event())
    await store.run(Retry("502"))
    clock.advance(hours=1)
    await store.run(Continue((fetched(detail()),), RefreshHint(detail_version=1)))
    assert (await store.row(strava_activities)).name == "Morning Ride"
    assert (await store.row(webhook_events)).status == "pending"
    again = await store.lease_one()
    assert (again.hint, again.attempts) == (RefreshHint(detail_version=1), 0)


async def test_a_newer_hint_is_not_replaced_by_a_continued_run(store):
    await store.enqueue(spec())
    job = await store.lease_one()
    await store.enqueue(spec(hint=RefreshHint(action="delete"), hint_time=9))
    await store.queue.finish(job, Continue((), RefreshHint(detail_version=1)))
    again = await store.lease_one()
    assert (again.hint.action, again.version) == ("delete", 2)


@pytest.mark.parametrize("again", [Snooze, Retry], ids=["snooze", "retry"])
async def test_a_newer_hint_is_not_replaced_by_where_the_older_run_stopped(store, clock, again):
    await store.enqueue(spec())
    job = await store.lease_one()
    await store.enqueue(spec(hint=RefreshHint(action="delete"), hint_time=9))
    stopped = RefreshHint(detail_version=1)
    until = clock.now() + timedelta(hours=1)
    ending = Retry("502", hint=stopped) if again is Retry else Snooze(until, "quota", hint=stopped)
    await store.queue.finish(job, ending)
    assert (await store.lease_one()).hint.action == "delete"  # and at once: the newer hint waits for nothing


async def test_a_retry_counts_an_attempt_waits_and_says_why(store, clock):
    await store.deliver(event())
    await store.run(Retry("502 Bad Gateway", (FAILED,)))
    row = await store.row(jobs)
    assert (row.state, row.attempts, row.last_error) == ("queued", 1, "502 Bad Gateway")
    assert clock.now() < row.due_at <= clock.now() + timedelta(seconds=2)
    stored_event = await store.row(webhook_events)
    assert (stored_event.status, stored_event.error_message, stored_event.processed_at) == (
        "pending",
        "502 Bad Gateway",
        None,
    )


async def test_each_retry_waits_longer(store, clock):
    await store.enqueue(spec())
    waits = []
    for _ in range(2):
        await store.run(Retry("502"))
        due = (await store.row(jobs)).due_at
        waits.append(due - clock.now())
        clock.advance(seconds=waits[-1].total_seconds())
    assert waits[0] < waits[1]


async def fail(store, times, outcome):
    for _ in range(times):
        await store.run(outcome)
        store.clock.advance(hours=1)


async def test_the_last_attempt_makes_a_dead_letter_with_its_reason(store):
    await store.deliver(event())
    await store.apply(fetched(detail()))
    await fail(store, 3, Retry("500 error", (FAILED,), if_last=(FAILED_FOR_GOOD,)))
    row = await store.row(jobs)
    assert (row.state, row.attempts, row.last_error, row.lease_owner) == ("dead", 3, "500 error", None)
    stored_event = await store.row(webhook_events)
    assert (stored_event.status, stored_event.error_message) == ("failed", "500 error")
    assert stored_event.processed_at is not None
    activity = await store.row(strava_activities)
    assert (activity.sync_status, activity.last_sync_error) == ("failed", "502")
    assert await store.lease() == []


async def test_before_the_last_attempt_the_activity_has_not_failed(store):
    await store.deliver(event())
    await store.apply(fetched(detail()))
    await fail(store, 2, Retry("500", (FAILED,), if_last=(FAILED_FOR_GOOD,)))
    activity = await store.row(strava_activities)
    assert (activity.sync_status, activity.sync_attempts) == ("synced", 2)


async def test_a_job_that_cannot_succeed_is_a_dead_letter_at_once(store):
    await store.deliver(event())
    await store.apply(fetched(detail()))
    await store.run(Discard("belongs to another", if_last=(FAILED_FOR_GOOD,)))
    assert (await store.row(jobs)).state == "dead"
    assert (await store.row(webhook_events)).error_message == "belongs to another"
    assert (await store.row(strava_activities)).sync_status == "failed"


@pytest.mark.parametrize("ending", [Discard("no"), Retry("no")], ids=["discard", "last retry"])
async def test_an_event_during_the_last_attempt_gets_all_attempts(store, ending):
    await store.deliver(event())
    if isinstance(ending, Retry):
        await fail(store, 2, ending)
    job = await store.lease_one()
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    await store.queue.finish(job, ending)
    assert {row.status for row in await store.rows(webhook_events)} == {"pending"}
    again = await store.lease_one()
    assert (again.attempts, again.version) == (0, 2)


async def test_an_activity_has_not_failed_while_its_job_runs_again(store):
    await store.deliver(event())
    await store.apply(fetched(detail()))
    job = await store.lease_one()
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    await store.queue.finish(job, Discard("no", if_last=(FAILED_FOR_GOOD,)))
    assert (await store.row(jobs)).state == "queued"
    assert (await store.row(strava_activities)).sync_status == "pending"


async def test_one_poison_activity_does_not_stop_others(store):
    await store.enqueue(*(spec(n) for n in range(5)))
    for _ in range(3):
        for job in await store.lease():
            poisoned = job.object_id == 3
            ending = Retry("500") if poisoned else Done((fetched(detail(job.object_id)),))
            await store.queue.finish(job, ending)
        store.clock.advance(hours=1)
    assert [row.id for row in await store.rows(strava_activities)] == [0, 1, 2, 4]
    assert [(row.key, row.state) for row in await store.rows(jobs)] == [("activity:3", "dead")]


@pytest.mark.parametrize("message", ["<html>\x00\x00", "half a \ud83d pair"], ids=["NUL", "lone surrogate"])
@pytest.mark.parametrize("ending", [Retry, Discard])
async def test_a_run_ends_with_any_bytes_in_its_error(store, message, ending):
    """A proxy's answer may hold anything; a job whose ending cannot be stored would run for ever."""
    await store.deliver(event())
    await store.apply(fetched(detail()))
    await store.run(ending(message, (NoteFailure(ACTIVITY, OWNER, message),)))
    assert (await store.row(jobs)).lease_owner is None


async def test_the_next_wait_of_an_athlete_says_until_when_and_why(store, clock):

    async def next_wait():
        now = clock.now()
        return await store.read(lambda c: job_lists.next_wait(c, OWNER, now))

    await store.enqueue(spec())
    until = clock.now() + timedelta(minutes=15)
    await store.run(Snooze(until, "no quota left"))
    assert tuple(await next_wait()) == (until, "no quota left")
    await store.enqueue(spec(key="activity:8"))
    assert await next_wait() is None  # another is due
    await store.lease_one()
    clock.advance(minutes=16)
    assert await next_wait() is None
