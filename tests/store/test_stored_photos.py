"""Photos never delay their activity, are fetched once, and are deleted with their activity."""

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


def received(state: str = "present", text: str | None = LIST, activity_id: int = ACTIVITY) -> StorePhotos:
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
    await store.apply(fetched(detail(total_photo_count=2), complete=False), streams(), ask())
    assert (await store.row(strava_activities)).sync_status == "synced"
    stored = await row(store)
    assert (stored.state, stored.photo_count, stored.photos, stored.asked_at) == ("pending", 2, None, None)
    (job,) = await store.lease()
    assert (job.kind, job.object_id, job.athlete_id, job.lane) == (
        "refresh_photos",
        ACTIVITY,
        OWNER,
        Lane.RECHECK,
    )


async def test_a_placeholder_is_not_stored_and_the_real_photo_is(synced, clock):
    await synced.apply(ask(), received("pending"))
    first = await row(synced)
    assert (first.state, first.photos, first.asked_at, first.fetched_at) == (
        "pending",
        None,
        clock.now(),
        None,
    )
    clock.advance(minutes=1)
    await synced.apply(received())
    second = await row(synced)
    assert (second.state, second.photos, second.fetched_at) == ("present", LIST, clock.now())
    assert second.asked_at == clock.now() - timedelta(minutes=1)


async def test_stored_photos_are_not_fetched_again(synced):
    await synced.apply(ask(), received())
    await synced.run(Done())
    await synced.apply(ask())
    assert await waiting(synced) == []
    assert (await row(synced)).state == "present"


async def test_a_different_number_of_photos_causes_a_fetch(synced, clock):
    await synced.apply(ask(), received())
    await synced.run(Done())
    clock.advance(hours=6)
    await synced.apply(ask(3))
    stored = await row(synced)
    assert (stored.state, stored.photo_count, stored.photos, stored.asked_at) == ("pending", 3, LIST, None)
    (job,) = await waiting(synced)
    assert job.due_at == clock.now()


async def test_removed_photos_are_deleted(synced):
    await synced.apply(ask(), received())
    await synced.run(Done())
    await synced.apply(ask(0))
    stored = await row(synced)
    assert (stored.state, stored.photo_count, stored.photos) == ("absent", 0, None)
    assert await waiting(synced) == []


async def test_an_activity_without_photos_has_no_row_and_no_job(synced):
    await synced.apply(ask(0))
    assert await row(synced) is None
    assert await waiting(synced) == []


async def test_fetching_the_activity_again_does_not_hurry_pending_photos(synced, clock):
    """Otherwise every edit of a fresh activity would cost another call."""
    await synced.apply(ask(), received("pending"))
    clock.advance(minutes=20)
    await synced.run(Done())
    await synced.apply(ask())
    (job,) = await waiting(synced)
    assert job.due_at == clock.now() + timedelta(minutes=25)


async def test_absent_photos_are_rechecked_once_when_the_activity_is_fetched_again(synced, clock):
    await synced.apply(ask(), received("absent"))
    await synced.run(Done())
    clock.advance(days=3)
    await synced.apply(ask())
    (job,) = await waiting(synced)
    assert job.due_at == clock.now()
    stored = await synced.read(lambda c: photos.load(c, ACTIVITY))
    assert stored == StoredPhotos("absent", clock.now() - timedelta(days=3), stored=False)


async def test_an_overtaken_run_also_enqueues_photos(store, clock):
    await store.enqueue(spec())
    job = await store.lease_one()
    await store.enqueue(spec())
    assert await store.queue.finish(job, Done((fetched(detail(total_photo_count=2)), streams(), ask())))
    assert len(await waiting(store)) == 1


async def test_a_failed_fetch_of_photos_does_not_mark_the_activity_as_failed(synced):
    await synced.apply(ask())
    await synced.run(Retry("502"))
    activity = await synced.row(strava_activities)
    assert (activity.sync_status, activity.last_sync_error, activity.sync_attempts) == ("synced", None, 0)


async def test_a_deleted_activity_has_no_photos_even_after_a_late_response(synced):
    """Guarantee 6."""
    await synced.apply(ask(), received(), Tombstone(ACTIVITY, OWNER, "request"))
    assert await row(synced) is None
    await synced.apply(received())
    assert await row(synced) is None


async def test_a_purge_deletes_the_photos(synced):
    await synced.apply(ask(), received(), ask(activity_id=5, athlete_id=OTHER))
    await synced.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    assert [photo_row.activity_id for photo_row in await synced.rows(activity_photos)] == [5]


async def test_photos_belong_to_their_activity_alone(synced):
    await synced.apply(ask(), ask(activity_id=5), received(), received("pending", activity_id=5))
    assert {photo_row.activity_id: photo_row.state for photo_row in await synced.rows(activity_photos)} == {
        ACTIVITY: "present",
        5: "pending",
    }
