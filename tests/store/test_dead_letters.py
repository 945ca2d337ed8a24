"""Dead letters are kept until someone decides, or the truth overtakes them."""

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
async def died(store: Store) -> str:
    """The id of a dead letter with one failed event."""
    await store.deliver(event())
    return (await store.run(Discard("500 error"))).id


async def requeue(store, job_id):
    now = store.clock.now()
    return await store.write(lambda c: dead_letters.requeue(c, job_id, now))


async def discard(store, job_id, reason="nobody wants it"):
    now = store.clock.now()
    return await store.write(lambda c: dead_letters.discard(c, job_id, reason, now))


async def statuses(store):
    return {row.aspect_type: row.status for row in await store.rows(webhook_events)}


async def test_a_dead_letter_is_kept_and_listed(store, died, clock):
    clock.advance(days=300)
    await store.queue.rescue()
    assert await store.lease() == []
    (letter,) = await store.read(dead_letters.listing)
    assert (letter.id, letter.last_error) == (died, "500 error")


async def test_a_revived_dead_letter_has_all_its_attempts_before_it(store):
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


async def test_a_revived_backfill_does_not_queue_behind_the_backfill(store):
    await store.enqueue(spec(lane=Lane.BACKFILL))
    job = await store.run(Discard("500"))
    await requeue(store, job.id)
    assert (await store.lease_one()).lane == Lane.INTERACTIVE


async def test_a_revived_live_job_stays_in_its_lane(store, died):
    await requeue(store, died)
    assert (await store.lease_one()).lane == Lane.LIVE


async def test_what_is_no_dead_letter_cannot_be_revived_or_discarded(store):
    await store.enqueue(spec())
    live = (await store.row(jobs_table)).id
    unknown = "01a00000-0000-7000-8000-000000000000"
    for job_id in (live, unknown):
        assert not await requeue(store, job_id)
        assert not await discard(store, job_id)
    assert (await store.row(jobs_table)).state == "queued"


async def test_news_of_a_dead_object_start_a_job_of_their_own(store, died):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    assert (await store.lease_one()).id != died
    assert await statuses(store) == {"create": "failed", "update": "processing"}


async def test_a_later_success_resolves_the_dead_letter(store, died):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    await store.run(Done((fetched(detail()),)))
    assert await store.rows(jobs_table) == []
    told = {row.aspect_type: row for row in await store.rows(webhook_events)}
    assert {row.status for row in told.values()} == {"completed"}
    assert told["create"].error_message == "brought up to date by a later job"


async def test_a_later_success_leaves_other_objects_dead_letters_alone(store, died):
    await store.enqueue(spec(77))
    await store.run(Done())
    assert [letter.id for letter in await store.read(dead_letters.listing)] == [died]


async def test_an_object_has_one_dead_letter_that_answers_for_all_its_events(store, died):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    second = await store.run(Discard("500 again"))
    (letter,) = await store.read(dead_letters.listing)
    assert (letter.id, letter.last_error) == (second.id, "500 again")
    assert await statuses(store) == {"create": "failed", "update": "failed"}
    assert not await requeue(store, died)
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


async def test_an_event_that_a_dead_letter_took_over_can_be_discarded_with_it(store, died):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    second = await store.run(Discard("500 again"))
    assert await discard(store, second.id)
    told = {row.aspect_type: row.error_message for row in await store.rows(webhook_events)}
    assert told == {
        "create": "discarded: nobody wants it; was: 500 error",
        "update": "discarded: nobody wants it; was: 500 again",
    }


async def test_reviving_beside_a_live_job_makes_that_one_run_now_and_resolve_both(store, died, clock):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    twin = await store.run(Retry("502"))
    assert await store.lease() == []  # the live one waits for its second attempt
    assert await requeue(store, died)
    assert (await store.lease_one()).id == twin.id


async def test_reviving_beside_a_running_job_makes_it_run_once_more(store, died):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    twin = await store.lease_one()
    assert await requeue(store, died)
    await store.queue.finish(twin, Done())
    await store.run(Done())
    assert await store.rows(jobs_table) == []
    assert await statuses(store) == {"create": "completed", "update": "completed"}


async def test_a_discarded_dead_letter_is_gone_and_its_events_say_why(store, died):
    assert await discard(store, died)
    assert await store.read(dead_letters.listing) == []
    told = await store.row(webhook_events)
    assert told.status == "failed"
    assert told.error_message == "discarded: nobody wants it; was: 500 error"


async def test_discarding_beside_a_live_job_leaves_that_one_alone(store, died):
    await store.deliver(retitled("Newer", event_time=EVENT_TIME + 9))
    assert await discard(store, died)
    assert (await store.lease_one()).object_id == ACTIVITY


async def test_who_leaves_takes_the_dead_letters_along(store, died):
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    assert await store.rows(jobs_table) == []


async def test_who_connects_again_gets_what_was_given_up_for_want_of_access(store, died):
    """A delete that came while the athlete had no access must not wait for somebody to press retry."""
    for number, kind in enumerate(("revoked", "not_connected", "needs_scope", "token_rejected"), start=2):
        await store.deliver(event(object_id=number, aspect_type="delete"))
        await store.run(Discard("no access", kind=kind))
    assert await store.write(lambda c: dead_letters.requeue_denied(c, OWNER, store.clock.now())) == 4
    assert sorted([job.object_id for job in await store.lease()]) == [2, 3, 4, 5]
    assert [letter.id for letter in await store.read(dead_letters.listing)] == [died]


async def test_another_athletes_dead_letters_stay(store):
    await store.deliver(event())
    await store.run(Discard("no access", kind="revoked"))
    assert await store.write(lambda c: dead_letters.requeue_denied(c, OTHER, store.clock.now())) == 0
    assert await store.lease() == []


async def restore(store, job_id, within=timedelta(minutes=1)):
    since = store.clock.now() - within
    return await store.write(lambda c: dead_letters.restore(c, job_id, since))


async def test_what_was_discarded_comes_back_as_it_was(store, died):
    before = [await store.rows(table) for table in (jobs_table, job_attempts, webhook_events)]
    await discard(store, died)
    assert await store.read(dead_letters.listing) == []
    assert await restore(store, died)
    assert [await store.rows(table) for table in (jobs_table, job_attempts, webhook_events)] == before
    assert not await restore(store, died)  # it is back already


async def test_a_discard_can_be_undone_after_a_restart(store, died, clock):
    def service() -> DeadLetterService:
        return DeadLetterService(store.database, clock, LocalWakeup())

    await service().discard(died, "a mistake")
    assert await service().restore(died)
    assert [letter.id for letter in await store.read(dead_letters.listing)] == [died]


async def test_what_was_discarded_comes_back_for_a_while_only(store, died, clock):
    await discard(store, died)
    clock.advance(seconds=61)
    assert not await restore(store, died)


async def test_a_discarded_dead_letter_is_counted_and_listed_nowhere(store, died):
    await discard(store, died)
    assert await store.read(job_lists.counts) == {}
    assert await store.read(lambda c: job_lists.listing(c, state=None, limit=9, after_id=None)) == []
    assert await store.read(lambda c: lifecycle.get(c, died)) is None
    assert await store.read(lambda c: activity_history.jobs_of(c, ACTIVITY)) == []
    assert not await requeue(store, died)
    assert not await discard(store, died)


async def test_beside_a_discarded_dead_letter_the_object_gets_a_new_job(store, died):
    await discard(store, died)
    await store.enqueue(spec())
    assert (await store.lease_one()).id != died


async def test_after_a_day_nothing_is_left_of_a_discarded_dead_letter(store, died, clock):
    retention = Retention(store.database, clock, days=None)
    await discard(store, died)
    clock.advance(hours=23)
    assert await retention.prune() == 0
    clock.advance(hours=2)
    assert await retention.prune() == 1
    assert await store.rows(jobs_table) == await store.rows(job_attempts) == []
    assert "nobody wants it" in (await store.row(webhook_events)).error_message


async def test_what_was_discarded_does_not_come_back_to_an_athlete_who_left(store, died, clock):
    await discard(store, died)
    left = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
    await store.write(lambda c: purge.purge(c, left, clock.now()))
    assert not await restore(store, died)
    assert await store.rows(jobs_table) == []


async def give_up(store, kind="strava_error"):
    """All attempts of the one job there is."""
    for _ in range(3):
        job = await store.run(Retry("502", kind=kind))
        store.clock.advance(minutes=1)
    return job


async def chances(store) -> int:
    now = store.clock.now()
    return await store.write(lambda c: dead_letters.auto_retry_due(c, now, 100))


async def test_what_was_given_up_while_strava_failed_is_tried_again_by_itself(store):
    """Pain 33: an outage leaves nothing for people to do."""
    await store.enqueue(spec(lane=Lane.BACKFILL))
    job = await give_up(store)
    assert await chances(store) == 0
    assert not await store.read(lambda c: dead_letters.any_auto_retry(c, store.clock.now()))
    store.clock.advance(minutes=5)
    assert await store.read(lambda c: dead_letters.any_auto_retry(c, store.clock.now()))
    assert await chances(store) == 1
    again = await store.lease_one()
    assert (again.id, again.attempts, again.lane) == (job.id, 0, Lane.BACKFILL)


async def test_what_fails_again_is_tried_ever_later(store):
    await store.enqueue(spec())
    waits = []
    for _ in range(9):
        began = (await give_up(store)) and store.clock.now()
        while not await chances(store):
            store.clock.advance(minutes=1)
        waits.append((store.clock.now() - began).total_seconds() / 60)
    assert waits == sorted(waits)
    assert waits[0] <= 5
    assert waits[-1] == pytest.approx(360, abs=2)


@pytest.mark.parametrize("kind", ["needs_scope", "refused", "revoked", "other"])
async def test_what_does_not_pass_by_itself_waits_for_people(store, kind):
    await store.enqueue(spec())
    await store.run(Discard("no", kind=kind))
    store.clock.advance(days=30)
    assert await chances(store) == 0


async def test_what_another_job_is_about_to_bring_up_to_date_is_left_to_it(store):
    await store.enqueue(spec())
    await give_up(store)
    await store.enqueue(spec())
    store.clock.advance(hours=1)
    assert await chances(store) == 0


async def test_an_id_that_is_none_names_nothing(store, clock):
    """PostgreSQL refuses what is no UUID: people mistype ids."""
    now = clock.now()
    assert not await store.write(lambda c: dead_letters.requeue(c, "nope", now))
    assert await store.write(lambda c: reconciliations.resolve(c, "nope", "accepted", now)) is None
    assert await store.write(lambda c: lifecycle.get(c, "nope")) is None
