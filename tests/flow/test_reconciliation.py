"""Reconciliation finds changes without events, in webhook mode and in polling mode."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pytest


async def complete(feedzone, athlete):
    _, body = await feedzone.api(f"athletes/{athlete}")
    return body["progress"]["completed"]


async def verified(feedzone, path: str, count: int = 1):
    with sqlite3.connect(path) as database:
        return database.execute("SELECT count(*) FROM reconciliations WHERE is_full").fetchone()[0] >= count


@pytest.fixture
async def synced(sandbox, install, eventually):
    """An installation with a completed backfill and without a push subscription: no events arrive."""
    feedzone = install(sandbox.url)
    await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    await eventually(lambda: complete(feedzone, athlete), 60)
    return feedzone, athlete


async def verify(feedzone, athlete, eventually, count: int = 1) -> None:
    status, _ = await feedzone.api(f"athletes/{athlete}/verify", "POST")
    assert status == 202
    path = str(feedzone.home / "feedzone.db")
    await eventually(lambda: verified(feedzone, path, count))

    async def quiet():
        _, body = await feedzone.api(f"athletes/{athlete}")
        return body["progress"]["pending"] == 0

    await eventually(quiet)


async def test_an_unchanged_window_costs_its_list_calls_and_nothing_else(synced, sandbox, eventually):
    feedzone, athlete = synced
    before = len(sandbox.world.journal.calls)
    await verify(feedzone, athlete, eventually)
    made = Counter(call.path for call in list(sandbox.world.journal.calls)[before:])
    del made["/athlete"]  # the daily request for the gear may come at any time, and is not part of this
    assert made == {"/athlete/activities": 2}


async def test_creates_edits_and_deletes_without_events_are_found(synced, sandbox, eventually):
    feedzone, athlete = synced
    world = sandbox.world
    _, listed = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
    changed, deleted = listed["items"][0]["id"], listed["items"][1]["id"]
    now = world.clock()
    late = world.record(athlete, sport="Ride", minutes=30, start=now - 6 * 86400, name="Late upload")
    world.edit_silently(changed, workout_type=3)
    world.delete(deleted)
    await verify(feedzone, athlete, eventually)

    async def equal():
        _, body = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
        rows = {item["id"]: item for item in body["items"]}
        done = all(item["sync_status"] == "synced" for item in rows.values())
        return done and deleted not in rows and rows

    rows = await eventually(equal)
    assert rows[late.id]["name"] == "Late upload"
    assert rows[changed]["workout_type"] == 3
    _, changes = await feedzone.api("changes?limit=200")
    causes = {(item["activity_id"], item["field"]): item["cause"] for item in changes["items"]}
    assert causes[changed, "workout_type"] == "reconciliation"


async def test_a_reconciliation_that_would_delete_much_opens_a_conflict(synced, sandbox, eventually):
    """If more than a few percent seem deleted, the list may be wrong: a person decides."""
    feedzone, athlete = synced
    _, listed = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
    gone = [item["id"] for item in listed["items"][: len(listed["items"]) // 2]]
    assert len(gone) > 3
    for number in gone:
        sandbox.world.delete(number)
    await verify(feedzone, athlete, eventually)
    _, still = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
    assert len(still["items"]) == len(listed["items"])
    _, questions = await feedzone.api("conflicts")
    (question,) = questions["items"]
    assert sorted(question["missing"]) == sorted(gone)
    accepted = await feedzone.run("conflicts", "accept", question["id"])
    assert accepted.returncode == 0, accepted.stderr

    async def let_go():
        _, body = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
        return len(body["items"]) == len(listed["items"]) - len(gone)

    await eventually(let_go)


async def test_a_lost_subscription_turns_health_red_and_polling_on(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    _, well = await feedzone.api("status")
    assert not well["polling"]
    await process.stop()
    sandbox.world.drop_subscription()
    await feedzone.start()

    async def noticed():
        _, status = await feedzone.api("status")
        return status["polling"] and not status["subscription"]["active"]

    await eventually(noticed)


async def test_an_inactive_application_stops_all_calls_uses_no_attempts_and_resumes(
    sandbox, install, eventually
):
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    await eventually(lambda: complete(feedzone, athlete), 60)
    sandbox.world.faults.inactive = True
    assert (await feedzone.run("subscription", "ensure")).returncode in (0, 1)
    specs = [sandbox.world.record(athlete, minutes=10, manual=True) for _ in range(20)]
    for number, spec in enumerate(specs):
        event = {
            "object_type": "activity",
            "object_id": spec.id,
            "aspect_type": "create",
            "owner_id": athlete,
            "subscription_id": 1,
            "event_time": 1_700_000_000 + number,
        }
        async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event) as answer:
            assert answer.status == 200

    async def paused():
        _, status = await feedzone.api("status")
        return status["paused_since"]

    await eventually(paused)

    async def all_waiting():
        _, body = await feedzone.api("jobs?state=queued&limit=200")
        waiting = [
            job
            for job in body["items"]
            if job["kind"] == "refresh_activity"
            and "switched this application off" in (job["last_error"] or "")
        ]
        return len(waiting) == 20 and waiting

    waiting = await eventually(all_waiting)
    assert {job["attempts"] for job in waiting} == {0}
    refused = sandbox.world.journal.by_status[403]
    assert refused <= 11  # those that were under way when it was switched off
    # An hour passes: the probe is due.
    await process.stop()
    sandbox.world.faults.inactive = False
    with sqlite3.connect(feedzone.home / "feedzone.db") as database:
        database.execute("UPDATE application_state SET probe_at = '2020-01-01T00:00:00.000000Z'")
        database.execute("UPDATE jobs SET due_at = '2020-01-01T00:00:00.000000Z' WHERE fair_position % 2 = 0")
    await feedzone.start()

    async def all_stored():
        _, body = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
        return {spec.id for spec in specs} <= {item["id"] for item in body["items"]}

    await eventually(all_stored)
