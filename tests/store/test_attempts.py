"""A dead letter lists every attempt with its time and its error; a finished job leaves none."""

from __future__ import annotations

import pytest
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, detail, event, fetched, retitled, spec

from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.outcome import Continue, Discard, Done, Retry, Snooze
from feedzone.store.jobs import attempts, dead_letters
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import job_attempts, jobs


async def errors_of(store, job_id):
    rows = await store.read(lambda c: attempts.of_job(c, job_id))
    return [(row.attempt, row.error_class, row.error) for row in rows]


async def fail(store, *errors, kind="strava_error"):
    """Let the only job fail once with each error; return its id."""
    for error in errors:
        job = await store.run(Retry(error, kind=kind))
        store.clock.advance(hours=1)
    return job.id


@pytest.fixture
async def dead(store) -> str:
    """The id of a dead letter after three attempts."""
    await store.deliver(event())
    return await fail(store, "GET activities/7 500", "GET activities/7 502", "GET activities/7 503")


async def test_a_dead_letter_lists_every_attempt_in_order(store, dead, clock):
    assert await errors_of(store, dead) == [
        (1, "strava_error", "GET activities/7 500"),
        (2, "strava_error", "GET activities/7 502"),
        (3, "strava_error", "GET activities/7 503"),
    ]
    times = [row.ended_at for row in await store.rows(job_attempts)]
    assert times == sorted(times)
    assert len(set(times)) == 3
    assert {row.athlete_id for row in await store.rows(job_attempts)} == {OWNER}


async def test_a_dead_letter_has_the_class_of_its_last_failure(store):
    await store.enqueue(spec())
    await fail(store, "no answer", kind="no_answer")
    await store.run(Discard("400", kind="refused"))
    row = await store.row(jobs)
    assert (row.state, row.error_class, row.last_error) == ("dead", "refused", "400")
    assert [kind for _, kind, _ in await errors_of(store, row.id)] == ["no_answer", "refused"]


async def test_a_job_that_is_still_retried_lists_its_attempts_so_far(store):
    await store.enqueue(spec())
    job_id = await fail(store, "500")
    assert await errors_of(store, job_id) == [(1, "strava_error", "500")]
    assert (await store.row(jobs)).error_class == "strava_error"


async def test_waiting_does_not_count_as_an_attempt(store, clock):
    await store.enqueue(spec())
    await store.run(Snooze(clock.now(), "no quota left"))
    await store.run(Continue((), spec().hint))
    assert await store.rows(job_attempts) == []


async def test_an_attempt_that_lost_its_lease_is_not_recorded(store, clock):
    await store.enqueue(spec())
    job = await store.lease_one()
    clock.advance(hours=1)
    await store.queue.rescue()
    assert not await store.queue.finish(job, Retry("500"))
    assert await store.rows(job_attempts) == []


async def test_an_error_of_any_length_is_stored(store):
    await store.enqueue(spec())
    error = "<html>\x00" + "é" * 5000
    job_id = await fail(store, error)
    ((_, _, stored),) = await errors_of(store, job_id)
    assert stored.endswith("é" * 100)


async def test_a_success_deletes_the_attempts(store):
    await store.enqueue(spec())
    await fail(store, "500", "502")
    await store.run(Done((fetched(detail()),)))
    assert await store.rows(job_attempts) == []


async def test_a_retried_dead_letter_keeps_its_attempts(store, dead, clock):
    await store.write(lambda c: dead_letters.requeue(c, dead, clock.now()))
    await store.run(Retry("504", kind="strava_error"))
    assert [(number, error) for number, _, error in await errors_of(store, dead)] == [
        (1, "GET activities/7 500"),
        (2, "GET activities/7 502"),
        (3, "GET activities/7 503"),
        (1, "504"),
    ]


async def test_a_retried_dead_letter_that_succeeds_leaves_no_attempts(store, dead, clock):
    await store.write(lambda c: dead_letters.requeue(c, dead, clock.now()))
    await store.run(Done())
    assert await store.rows(job_attempts) == []


async def test_a_discarded_dead_letter_leaves_no_attempts_after_a_day(store, dead, clock):
    await store.write(lambda c: dead_letters.discard(c, dead, "nobody needs it", clock.now()))
    clock.advance(days=1, seconds=1)
    assert await Retention(store.database, clock, None).prune() == 1
    assert await store.rows(job_attempts) == []


async def test_a_job_that_cannot_be_discarded_keeps_its_attempts(store, clock):
    await store.enqueue(spec())
    job_id = await fail(store, "500")
    assert not await store.write(lambda c: dead_letters.discard(c, job_id, "no dead letter", clock.now()))
    assert len(await errors_of(store, job_id)) == 1


async def test_a_later_dead_letter_of_the_same_object_lists_the_attempts_of_both(store, dead):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    later = (await store.run(Discard("400", kind="refused"))).id
    assert [error for _, _, error in await errors_of(store, later)] == [
        "GET activities/7 500",
        "GET activities/7 502",
        "GET activities/7 503",
        "400",
    ]
    assert await errors_of(store, dead) == []


async def test_a_job_that_fails_for_months_keeps_its_first_and_its_latest_attempts(store):
    for number in range(attempts.MOST_ATTEMPTS + 10):
        await store.enqueue(spec())
        await store.run(Discard(f"failure {number}"))
    messages = [error for _, _, error in await errors_of(store, (await store.row(jobs)).id)]
    assert messages == ["failure 0", *(f"failure {n}" for n in range(10, attempts.MOST_ATTEMPTS + 10))]


async def test_a_later_success_deletes_the_attempts_of_the_dead_letter(store, dead):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    await fail(store, "500")
    await store.run(Done((fetched(detail()),)))
    assert await store.rows(job_attempts) == []


async def test_attempts_of_other_objects_and_athletes_stay(store, dead):
    await store.enqueue(spec(77), spec(athlete_id=OTHER))
    for job in await store.lease():
        await store.queue.finish(job, Done())
    assert len(await errors_of(store, dead)) == 3


async def test_an_event_during_the_last_attempt_gets_new_attempts_and_the_earlier_ones_stay_listed(store):
    await store.enqueue(spec())
    await fail(store, "500", "502")
    job = await store.lease_one()
    await store.enqueue(spec())
    await store.queue.finish(job, Retry("503"))
    row = await store.row(jobs)
    assert (row.state, row.attempts) == ("queued", 0)
    assert [number for number, _, _ in await errors_of(store, job.id)] == [1, 2, 3]


async def test_a_purge_deletes_the_attempts(store, dead):
    await store.enqueue(spec(athlete_id=OTHER))
    other_letter = (await store.run(Discard("400"))).id
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    assert await store.rows(job_attempts, athlete_id=OWNER) == []
    assert len(await errors_of(store, other_letter)) == 1


async def test_the_attempt_and_the_end_of_the_job_commit_together(store, monkeypatch):
    await store.enqueue(spec())
    job = await store.lease_one()

    def kill(*_arguments, **_named):
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("feedzone.store.events.note_failure", kill)
        with pytest.raises(SystemError):
            await store.queue.finish(job, Discard("400"))
    assert await store.rows(job_attempts) == []
    assert (await store.row(jobs)).state == "running"


async def test_an_unknown_job_has_no_attempts(store):
    assert await errors_of(store, f"01a00000-0000-7000-8000-{ACTIVITY:012d}") == []
