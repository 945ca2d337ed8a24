"""A dead letter stays until a person decides, or a later job brings its object up to date."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, Store, detail, event, fetched, retitled, spec

from feedzone.domain.effect import PurgeAthlete
from feedzone.domain.job import Lane
from feedzone.domain.outcome import Discard, Done, Retry
from feedzone.services.dead_letters import DeadLetterService
from feedzone.store import purge, reconciliations
from feedzone.store.jobs import dead_letters, lifecycle
from feedzone.store.reads import activity_history
from feedzone.store.reads import jobs as job_lists
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import job_attempts, webhook_events
from feedzone.store.schema.tables import jobs as jobs_table
from feedzone.worker.wakeup import LocalWakeup


@pytest.fixture
async def dead_letter(store: Store) -> str:
    """The id of a dead letter with one failed event."""
    await store.deliver(event())
    return (await store.run(Discard("500 error"))).id


async def requeue(store, job_id):
    now = store.clock.now()
    return await store.write(lambda c: dead_letters.requeue(c, job_id, now))


async def discard(store, job_id, reason="nobody needs it"):
    now = store.clock.now()
    return await store.write(lambda c: dead_letters.discard(c, job_id, reason, now))


async def statuses(store):
    return {row.aspect_type: row.status for row in await store.rows(webhook_events)}


async def test_a_dead_letter_is_kept_and_listed(store, dead_letter, clock):
    clock.advance(days=300)
    await store.queue.rescue()
    assert await store.lease() == []
    (letter,) = await store.read(dead_letters.listing)
    assert (letter.id, letter.last_error) == (dead_letter, "500 error")


async def test_a_retried_dead_letter_gets_all_its_attempts_again(store):
    await store.deliver(event())
    for _ in range(3):
        job = await store.run(Retry("502"))
        store.clock.advance(hours=1)
    assert await requeue(store, job.id)
    assert (await store.row(webhook_events)).status == "pending"
    again = await store.lease_one()
    assert (again.id, again.attempts) == (job.id, 0)
    await store.queue.finish(again, Done())
    assert (await store.row(webhook_events)).status == "completed"


async def test_a_retried_backfill_job_moves_to_the_interactive_lane(store):
    await store.enqueue(spec(lane=Lane.BACKFILL))
    job = await store.run(Discard("500"))
    await requeue(store, job.id)
    assert (await store.lease_one()).lane == Lane.INTERACTIVE


async def test_a_retried_live_job_stays_in_its_lane(store, dead_letter):
    await requeue(store, dead_letter)
    assert (await store.lease_one()).lane == Lane.LIVE


async def test_only_a_dead_letter_can_be_retried_or_discarded(store):
    await store.enqueue(spec())
    live = (await store.row(jobs_table)).id
    unknown = "01a00000-0000-7000-8000-000000000000"
    for job_id in (live, unknown):
        assert not await requeue(store, job_id)
        assert not await discard(store, job_id)
    assert (await store.row(jobs_table)).state == "queued"


async def test_a_new_event_of_an_object_with_a_dead_letter_starts_a_new_job(store, dead_letter):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    assert (await store.lease_one()).id != dead_letter
    assert await statuses(store) == {"create": "failed", "update": "processing"}


async def test_a_later_success_resolves_the_dead_letter(store, dead_letter):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    await store.run(Done((fetched(detail()),)))
    assert await store.rows(jobs_table) == []
    events = {row.aspect_type: row for row in await store.rows(webhook_events)}
    assert {row.status for row in events.values()} == {"completed"}
    assert events["create"].error_message == "brought up to date by a later job"


async def test_a_later_success_leaves_other_objects_dead_letters_alone(store, dead_letter):
    await store.enqueue(spec(77))
    await store.run(Done())
    assert [letter.id for letter in await store.read(dead_letters.listing)] == [dead_letter]


async def test_an_object_has_one_dead_letter_with_all_its_failed_events(store, dead_letter):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    second = await store.run(Discard("500 again"))
    (letter,) = await store.read(dead_letters.listing)
    assert (letter.id, letter.last_error) == (second.id, "500 again")
    assert await statuses(store) == {"create": "failed", "update": "failed"}
    assert not await requeue(store, dead_letter)
    assert await requeue(store, second.id)
    assert await statuses(store) == {"create": "pending", "update": "pending"}
    await store.run(Done())
    assert await store.rows(jobs_table) == []
    assert await statuses(store) == {"create": "completed", "update": "completed"}


async def test_dead_letters_are_listed_by_class_of_failure(store):
    await store.enqueue(spec(1))
    refused = await store.run(Discard("400", kind="refused"))
    await store.enqueue(spec(2))
    failed = await store.run(Discard("500", kind="strava_error"))
    listed = {
        kind: [letter.id for letter in await store.read(lambda c, kind=kind: dead_letters.listing(c, kind))]
        for kind in ("refused", "strava_error", "revoked", None)
    }
    assert listed == {
        "refused": [refused.id],
        "strava_error": [failed.id],
        "revoked": [],
        None: [refused.id, failed.id],
    }


async def test_discarding_a_merged_dead_letter_discards_the_events_of_both(store, dead_letter):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    second = await store.run(Discard("500 again"))
    assert await discard(store, second.id)
    messages = {row.aspect_type: row.error_message for row in await store.rows(webhook_events)}
    assert messages == {
        "create": "discarded: nobody needs it; was: 500 error",
        "update": "discarded: nobody needs it; was: 500 again",
    }


async def test_retrying_beside_a_live_job_makes_the_live_job_due(store, dead_letter, clock):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    twin = await store.run(Retry("502"))
    assert await store.lease() == []  # the live one waits for its second attempt
    assert await requeue(store, dead_letter)
    assert (await store.lease_one()).id == twin.id


async def test_retrying_beside_a_running_job_makes_it_run_once_more(store, dead_letter):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    twin = await store.lease_one()
    assert await requeue(store, dead_letter)
    await store.queue.finish(twin, Done())
    await store.run(Done())
    assert await store.rows(jobs_table) == []
    assert await statuses(store) == {"create": "completed", "update": "completed"}


async def test_a_discarded_dead_letter_is_gone_and_its_events_say_why(store, dead_letter):
    assert await discard(store, dead_letter)
    assert await store.read(dead_letters.listing) == []
    stored_event = await store.row(webhook_events)
    assert stored_event.status == "failed"
    assert stored_event.error_message == "discarded: nobody needs it; was: 500 error"


async def test_discarding_beside_a_live_job_does_not_touch_the_live_job(store, dead_letter):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    assert await discard(store, dead_letter)
    assert (await store.lease_one()).object_id == ACTIVITY


async def test_a_purge_deletes_the_dead_letters(store, dead_letter):
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    assert await store.rows(jobs_table) == []


async def test_dead_letters_without_access_are_retried_when_the_athlete_reconnects(store, dead_letter):
    """A delete that came while the athlete had no access must not wait for somebody to press retry."""
    for number, kind in enumerate(("revoked", "not_connected", "needs_scope", "token_rejected"), start=2):
        await store.deliver(event(object_id=number, aspect_type="delete"))
        await store.run(Discard("no access", kind=kind))
    assert await store.database.write(lambda c: dead_letters.requeue_denied(c, OWNER, store.clock.now())) == 4
    assert sorted([job.object_id for job in await store.lease()]) == [2, 3, 4, 5]
    assert [letter.id for letter in await store.read(dead_letters.listing)] == [dead_letter]


async def test_another_athletes_dead_letters_stay(store):
    await store.deliver(event())
    await store.run(Discard("no access", kind="revoked"))
    assert await store.database.write(lambda c: dead_letters.requeue_denied(c, OTHER, store.clock.now())) == 0
    assert await store.lease() == []


async def restore(store, job_id, within=timedelta(minutes=1)):
    since = store.clock.now() - within
    return await store.write(lambda c: dead_letters.restore(c, job_id, since))


async def test_a_restored_dead_letter_is_as_it_was(store, dead_letter):
    before = [await store.rows(table) for table in (jobs_table, job_attempts, webhook_events)]
    await discard(store, dead_letter)
    assert await store.read(dead_letters.listing) == []
    assert await restore(store, dead_letter)
    assert [await store.rows(table) for table in (jobs_table, job_attempts, webhook_events)] == before
    assert not await restore(store, dead_letter)  # it is back already


async def test_a_discard_can_be_undone_after_a_restart(store, dead_letter, clock):
    def service() -> DeadLetterService:
        return DeadLetterService(store.database, clock, LocalWakeup(), LocalWakeup())

    await service().discard(dead_letter, "a mistake")
    assert await service().restore(dead_letter)
    assert [letter.id for letter in await store.read(dead_letters.listing)] == [dead_letter]


async def test_a_discard_can_be_undone_for_a_minute_only(store, dead_letter, clock):
    await discard(store, dead_letter)
    clock.advance(seconds=61)
    assert not await restore(store, dead_letter)


async def test_a_discarded_dead_letter_is_neither_counted_nor_listed(store, dead_letter):
    await discard(store, dead_letter)
    assert await store.read(job_lists.counts) == {}
    assert await store.read(lambda c: job_lists.listing(c, state=None, limit=9, after_id=None)) == []
    assert await store.read(lambda c: lifecycle.get(c, dead_letter)) is None
    assert await store.read(lambda c: activity_history.jobs_of(c, ACTIVITY)) == []
    assert not await requeue(store, dead_letter)
    assert not await discard(store, dead_letter)


async def test_beside_a_discarded_dead_letter_the_object_gets_a_new_job(store, dead_letter):
    await discard(store, dead_letter)
    await store.enqueue(spec())
    assert (await store.lease_one()).id != dead_letter


async def test_after_a_day_nothing_is_left_of_a_discarded_dead_letter(store, dead_letter, clock):
    retention = Retention(store.database, clock, days=None)
    await discard(store, dead_letter)
    clock.advance(hours=23)
    assert await retention.prune() == 0
    clock.advance(hours=2)
    assert await retention.prune() == 1
    assert await store.rows(jobs_table) == await store.rows(job_attempts) == []
    assert "nobody needs it" in (await store.row(webhook_events)).error_message


async def test_a_discard_cannot_be_undone_after_a_purge(store, dead_letter, clock):
    await discard(store, dead_letter)
    left = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
    await store.write(lambda c: purge.purge(c, left, clock.now()))
    assert not await restore(store, dead_letter)
    assert await store.rows(jobs_table) == []


async def fail_for_good(store, kind="strava_error"):
    """Let the only job fail until it is a dead letter."""
    for _ in range(3):
        job = await store.run(Retry("502", kind=kind))
        store.clock.advance(minutes=1)
    return job


async def retry_due(store) -> int:
    now = store.clock.now()
    return await store.write(lambda c: dead_letters.auto_retry_due(c, now, 100))


async def test_dead_letters_of_an_outage_are_retried_automatically(store):
    """After an outage nobody has to retry jobs by hand."""
    await store.enqueue(spec(lane=Lane.BACKFILL))
    job = await fail_for_good(store)
    assert await retry_due(store) == 0
    assert not await store.read(lambda c: dead_letters.any_auto_retry(c, store.clock.now()))
    store.clock.advance(minutes=5)
    assert await store.read(lambda c: dead_letters.any_auto_retry(c, store.clock.now()))
    assert await retry_due(store) == 1
    again = await store.lease_one()
    assert (again.id, again.attempts, again.lane) == (job.id, 0, Lane.BACKFILL)


async def test_each_automatic_retry_waits_longer(store):
    await store.enqueue(spec())
    waits = []
    for _ in range(9):
        began = (await fail_for_good(store)) and store.clock.now()
        while not await retry_due(store):
            store.clock.advance(minutes=1)
        waits.append((store.clock.now() - began).total_seconds() / 60)
    assert waits == sorted(waits)
    assert waits[0] <= 5
    assert waits[-1] == pytest.approx(360, abs=2)


@pytest.mark.parametrize("kind", ["needs_scope", "refused", "revoked", "other"])
async def test_a_failure_that_does_not_pass_is_not_retried_automatically(store, kind):
    await store.enqueue(spec())
    await store.run(Discard("no", kind=kind))
    store.clock.advance(days=30)
    assert await retry_due(store) == 0


async def test_a_dead_letter_with_a_live_job_is_not_retried_automatically(store):
    await store.enqueue(spec())
    await fail_for_good(store)
    await store.enqueue(spec())
    store.clock.advance(hours=1)
    assert await retry_due(store) == 0


async def test_a_malformed_id_names_nothing(store, clock):
    """People mistype ids, and PostgreSQL refuses a malformed UUID."""
    now = clock.now()
    assert not await store.write(lambda c: dead_letters.requeue(c, "nope", now))
    assert await store.write(lambda c: reconciliations.resolve(c, "nope", "accepted", now)) is None
    assert await store.write(lambda c: lifecycle.get(c, "nope")) is None
