"""Photos, end to end: the activity is stored at once, its photos when Strava has processed them."""

from __future__ import annotations

import sqlite3


async def subscribed(sandbox, install, **more):
    """An installation with one athlete and a push subscription."""
    feedzone = install(sandbox.url, **more)
    process = await feedzone.start()
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete, "read,activity:read,activity:read_all")

    async def complete():
        _, body = await feedzone.api(f"athletes/{athlete}")
        return body["progress"]["completed"]

    return feedzone, process, athlete, complete


def time_passes(feedzone) -> None:
    """Make every queued photo job due."""
    with sqlite3.connect(feedzone.home / "feedzone.db") as database:
        database.execute(
            "UPDATE jobs SET due_at = '2020-01-01T00:00:00.000000Z' WHERE kind = 'refresh_photos'"
        )


async def test_real_photos_are_stored_and_placeholders_are_not(sandbox, install, eventually):
    """Strava first lists a placeholder, then the real URL; the activity never waits for it."""
    feedzone, process, athlete, complete = await subscribed(sandbox, install, FETCH_PHOTOS="true")
    await eventually(complete, 60)
    sandbox.world.faults.photo_delay_s = 1e6
    ride = sandbox.world.record(athlete, "Ride", photos=2)

    async def requested():
        status, body = await feedzone.api(f"activities/{ride.id}")
        return status == 200 and body["photos"] and body["sync_status"] == "synced" and body

    body = await eventually(requested)
    assert (body["photos"], body["streams"]) == ("pending", "present")

    async def answered():
        with sqlite3.connect(feedzone.home / "feedzone.db") as database:
            query = "SELECT asked_at FROM activity_photos WHERE activity_id = ?"
            return database.execute(query, (ride.id,)).fetchone()[0]

    await eventually(answered)
    assert await feedzone.api(f"activities/{ride.id}/photos") == (200, {"state": "pending", "items": []})

    sandbox.world.faults.photo_delay_s = 0
    await process.stop()
    time_passes(feedzone)
    await feedzone.start()

    async def there():
        _, shown = await feedzone.api(f"activities/{ride.id}/photos")
        return shown["state"] == "present" and shown["items"]

    items = await eventually(there)
    assert len(items) == 2
    assert all("placeholder" not in url for item in items for url in item["urls"].values())
    assert set(items[0]["urls"]) == {"5000"}
    _, dead = await feedzone.api("jobs?state=dead")
    assert dead["items"] == []


async def test_without_the_setting_photos_cost_no_call(sandbox, install, eventually):
    feedzone, _, athlete, complete = await subscribed(sandbox, install)
    ride = sandbox.world.record(athlete, "Ride", photos=2)
    await eventually(complete, 60)

    async def synced():
        status, body = await feedzone.api(f"activities/{ride.id}")
        return status == 200 and body["sync_status"] == "synced" and body

    body = await eventually(synced)
    assert (body["total_photo_count"], body["photos"]) == (2, None)
    assert await feedzone.api(f"activities/{ride.id}/photos") == (200, {"state": None, "items": []})
    assert sandbox.world.journal.by_endpoint["photos"] == 0
    status, _ = await feedzone.api("activities/1/photos")
    assert status == 404
