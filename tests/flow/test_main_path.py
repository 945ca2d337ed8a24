"""From an athlete's consent to rows, streams and API answers: the main job, over real HTTP."""

from __future__ import annotations

import time

from processes import API_KEY


async def synced(installation, activity_id):
    status, activity = await installation.api(f"activities/{activity_id}")
    return activity if status == 200 and activity["sync_status"] == "synced" else None


async def test_consent_brings_the_last_thirty_days_with_streams(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    assert "is connected" in await feedzone.connect(athlete)

    async def complete():
        _, body = await feedzone.api(f"athletes/{athlete}")
        return body["progress"]["completed"]

    await eventually(complete, 60)
    month = [a for a in sandbox.world.truth(athlete) if a["start_date"] >= _days_ago(30)]
    _, listed = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
    assert {a["id"] for a in listed["items"]} == {a["id"] for a in month}
    assert {a["sync_status"] for a in listed["items"]} == {"synced"}
    ride = next(a for a in listed["items"] if not a["manual"])
    status, streams = await feedzone.api(f"activities/{ride['id']}/streams")
    assert status == 200
    assert len(streams["time"]["data"]) == streams["distance"]["original_size"]


def _days_ago(days: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * 86400))


async def test_an_upload_is_stored_with_its_streams_within_two_seconds(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    ensured = await feedzone.run("subscription", "ensure")
    assert ensured.returncode == 0, ensured.stderr
    assert (await feedzone.run("subscription", "ensure")).stdout.count("kept") == 1

    async def quiet():
        _, body = await feedzone.api(f"athletes/{athlete}")
        return body["progress"]["completed"]

    await eventually(quiet, 60)
    spec = sandbox.world.record(athlete, sport="Ride", minutes=60, name="Evening loop")

    async def stored():
        activity = await synced(feedzone, spec.id)
        return activity and (await feedzone.api(f"activities/{spec.id}/streams"))[0] == 200

    await eventually(stored)


async def test_rename_hide_delete_and_deauthorization_reach_the_database(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    await feedzone.start()
    leaver, stayer = list(sandbox.world.athletes)[:2]
    for athlete in (leaver, stayer):
        await feedzone.connect(athlete)
    await feedzone.run("subscription", "ensure")
    spec = sandbox.world.record(leaver, sport="Run", minutes=30)
    await eventually(lambda: synced(feedzone, spec.id))

    sandbox.world.rename(spec.id, "Renamed at Strava")
    sandbox.world.hide(spec.id)

    async def hidden():
        body = await synced(feedzone, spec.id)
        return body and body["name"] == "Renamed at Strava" and body["visibility"] == "only_me"

    await eventually(hidden)
    sandbox.world.delete(spec.id)

    async def gone():
        status, _ = await feedzone.api(f"activities/{spec.id}")
        return status in (404, 410)

    await eventually(gone)
    sandbox.world.deauthorize(leaver)

    async def left():
        _, body = await feedzone.api(f"athletes/{leaver}")
        return body["status"] == "deauthorized"

    await eventually(left)
    _, remaining = await feedzone.api(f"activities?athlete_id={leaver}")
    assert remaining["items"] == []
    _, others = await feedzone.api(f"activities?athlete_id={stayer}")
    assert others["items"]


async def test_a_forged_delete_changes_nothing_and_is_counted(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    spec = sandbox.world.record(athlete)
    forged = {
        "object_type": "activity",
        "object_id": spec.id,
        "aspect_type": "create",
        "owner_id": athlete,
        "subscription_id": 1,
        "event_time": 1_700_000_000,
    }
    hook = f"{feedzone.url}/api/webhooks/strava"
    async with feedzone.browser.post(hook, json=forged) as answer:
        assert answer.status == 200
    await eventually(lambda: synced(feedzone, spec.id))
    async with feedzone.browser.post(hook, json=forged | {"aspect_type": "delete"}) as answer:
        assert answer.status == 200

    async def counted():
        _, status = await feedzone.api("status")
        return status["forged_suspects"] == 1

    await eventually(counted)
    assert await synced(feedzone, spec.id)


async def test_disconnecting_revokes_at_strava_and_leaves_a_receipt(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    status, receipt = await feedzone.api(f"athletes/{athlete}", "DELETE")
    assert status == 200
    assert receipt["athlete_id"] == athlete

    async def revoked():
        return athlete not in sandbox.world.grants.live

    await eventually(revoked)


async def test_the_api_requires_its_key(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        async with feedzone.browser.get(f"{feedzone.url}/api/v1/status", headers=headers) as answer:
            assert answer.status == 401
            assert answer.content_type == "application/problem+json"
            assert API_KEY not in await answer.text()
