"""Photos wait for nobody and nobody waits for them: asked for once, kept, and gone with their activity."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import ACTIVITY, OTHER, OWNER, Store, detail, fetched, spec, streams

from feedzone.domain.effect import AskForPhotos, PurgeAthlete, StorePhotos, Tombstone
from feedzone.domain.job import Lane
from feedzone.domain.outcome import Done, Retry
from feedzone.domain.photos import StoredPhotos
from feedzone.store import photos
from feedzone.store.schema.tables import activity_photos, jobs, strava_activities

LIST = '[{"unique_id":"a",  "urls":{"5000":"https://x.test/a.jpg"}}]'


def ask(count: int = 2, **changes) -> AskForPhotos:
    values = {"activity_id": ACTIVITY, "athlete_id": OWNER, "count": count, "lane": Lane.RECHECK} | changes
    return AskForPhotos(**values)


def came(state: str = "present", text: str | None = LIST, activity_id: int = ACTIVITY) -> StorePhotos:
    return StorePhotos(activity_id, OWNER, state, text if state == "present" else None)


async def row(store: Store, activity_id: int = ACTIVITY):
    return await store.read(lambda c: photos.get(c, activity_id))


async def waiting(store: Store) -> list:
    return await store.rows(jobs, kind="refresh_photos")


@pytest.fixture
async def synced(store) -> Store:
    """An activity whose detail and streams are stored."""
    await store.apply(fetched(detail(total_photo_count=2)), streams())
    return store


async def test_the_activity_is_synced_while_its_photos_are_pending(store, clock):
    """Pain 22: never block the activity."""
    await store.apply(fetched(detail(total_photo_count=2), complete=False), streams(), ask())
    assert (await store.row(strava_activities)).sync_status == "synced"
    held = await row(store)
    assert (held.state, held.photo_count, held.photos, held.asked_at) == ("pending", 2, None, None)
    (job,) = await store.lease()
    assert (job.kind, job.object_id, job.athlete_id, job.lane) == (
        "refresh_photos",
        ACTIVITY,
        OWNER,
        Lane.RECHECK,
    )


async def test_a_placeholder_and_then_the_real_one_the_second_is_stored(synced, clock):
    """Pain 22."""
    await synced.apply(ask(), came("pending"))
    first = await row(synced)
    assert (first.state, first.photos, first.asked_at, first.fetched_at) == (
        "pending",
        None,
        clock.now(),
        None,
    )
    clock.advance(minutes=1)
    await synced.apply(came())
    second = await row(synced)
    assert (second.state, second.photos, second.fetched_at) == ("present", LIST, clock.now())
    assert second.asked_at == clock.now() - timedelta(minutes=1)


async def test_what_we_hold_is_not_asked_for_again(synced):
    await synced.apply(ask(), came())
    await synced.run(Done())
    await synced.apply(ask())
    assert await waiting(synced) == []
    assert (await row(synced)).state == "present"


async def test_another_number_of_photos_is_asked_for(synced, clock):
    """Pain 22."""
    await synced.apply(ask(), came())
    await synced.run(Done())
    clock.advance(hours=6)
    await synced.apply(ask(3))
    held = await row(synced)
    assert (held.state, held.photo_count, held.photos, held.asked_at) == ("pending", 3, LIST, None)
    (job,) = await waiting(synced)
    assert job.due_at == clock.now()


async def test_photos_that_were_all_removed_are_gone(synced):
    await synced.apply(ask(), came())
    await synced.run(Done())
    await synced.apply(ask(0))
    held = await row(synced)
    assert (held.state, held.photo_count, held.photos) == ("absent", 0, None)
    assert await waiting(synced) == []


async def test_of_an_activity_without_photos_nothing_is_kept_or_asked(synced):
    await synced.apply(ask(0))
    assert await row(synced) is None
    assert await waiting(synced) == []


async def test_reading_the_activity_again_does_not_hurry_photos_that_are_awaited(synced, clock):
    """Else every edit of a fresh activity would cost another call."""
    await synced.apply(ask(), came("pending"))
    clock.advance(minutes=20)
    await synced.run(Done())
    await synced.apply(ask())
    (job,) = await waiting(synced)
    assert job.due_at == clock.now() + timedelta(minutes=25)


async def test_what_was_absent_gets_one_look_when_the_activity_is_read_again(synced, clock):
    await synced.apply(ask(), came("absent"))
    await synced.run(Done())
    clock.advance(days=3)
    await synced.apply(ask())
    (job,) = await waiting(synced)
    assert job.due_at == clock.now()
    held = await synced.read(lambda c: photos.load(c, ACTIVITY))
    assert held == StoredPhotos("absent", clock.now() - timedelta(days=3), stored=False)


async def test_photos_are_asked_for_in_the_run_that_was_overtaken_too(store, clock):
    await store.enqueue(spec())
    job = await store.lease_one()
    await store.enqueue(spec())
    assert await store.queue.finish(job, Done((fetched(detail(total_photo_count=2)), streams(), ask())))
    assert len(await waiting(store)) == 1


async def test_a_failure_of_the_photos_says_nothing_of_the_activity(synced):
    await synced.apply(ask())
    await synced.run(Retry("502"))
    activity = await synced.row(strava_activities)
    assert (activity.sync_status, activity.last_sync_error, activity.sync_attempts) == ("synced", None, 0)


async def test_a_deleted_activity_has_no_photos_and_a_late_answer_brings_none(synced):
    """Guarantee 6 and pain 22."""
    await synced.apply(ask(), came(), Tombstone(ACTIVITY, OWNER, "request"))
    assert await row(synced) is None
    await synced.apply(came())
    assert await row(synced) is None


async def test_who_leaves_leaves_no_photos(synced):
    await synced.apply(ask(), came(), ask(activity_id=5, athlete_id=OTHER))
    await synced.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    assert [one.activity_id for one in await synced.rows(activity_photos)] == [5]


async def test_photos_belong_to_their_activity_alone(synced):
    await synced.apply(ask(), ask(activity_id=5), came(), came("pending", activity_id=5))
    assert {one.activity_id: one.state for one in await synced.rows(activity_photos)} == {
        ACTIVITY: "present",
        5: "pending",
    }
