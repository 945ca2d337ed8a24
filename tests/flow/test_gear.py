"""Gear, end to end: the API and an export show the gear of the profile at Strava."""

from __future__ import annotations

import json
import sqlite3


def tomorrow(feedzone) -> None:
    """Let a day pass, after which the gear is requested again."""
    with sqlite3.connect(feedzone.home / "feedzone.db") as database:
        database.execute("UPDATE strava_athletes SET gear_due_at = '2020-01-01T00:00:00.000000Z'")


async def test_unused_retired_and_deleted_gear_can_be_distinguished(sandbox, install, eventually):
    """The unused bike is listed, and the deleted one is marked."""
    world = sandbox.world
    athlete = next(iter(world.athletes))
    unused = world.add_gear(athlete, "bike", "Never ridden")
    sold = world.add_gear(athlete, "bike", "To be sold")
    tired = world.add_gear(athlete, "shoe", "Tired")
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    await feedzone.connect(athlete)
    await process.stop()  # the scheduler runs every 30 s, and when it starts
    process = await feedzone.start()

    async def shown():
        _, body = await feedzone.api(f"athletes/{athlete}/gear")
        return {item["id"]: item for item in body["items"]}

    gear = await eventually(shown)
    assert set(gear) == {item.id for item in world.athlete(athlete).gear}
    assert (gear[unused.id]["name"], gear[unused.id]["distance"]) == ("Never ridden", 0.0)
    assert gear[unused.id]["raw"]["resource_state"] == 2
    assert (gear[tired.id]["kind"], gear[tired.id]["retired"]) == ("shoe", False)

    world.retire_gear(athlete, sold.id, delete=True)
    world.retire_gear(athlete, tired.id)
    await process.stop()
    tomorrow(feedzone)
    await feedzone.start()

    async def marked():
        gear = await shown()
        return gear[sold.id]["removed_at"] and gear

    gear = await eventually(marked)
    assert (gear[tired.id]["retired"], gear[tired.id]["removed_at"]) == (True, None)
    assert gear[unused.id]["removed_at"] is None
    assert world.journal.by_endpoint["athlete"] == 2  # one call a day

    result = await feedzone.run("export", str(athlete), "--to", "mine")
    assert result.returncode == 0, result.stderr
    exported = json.loads((feedzone.home / "mine" / "gear.json").read_text())
    assert {item["id"]: item for item in exported} == gear


async def test_without_the_profile_scope_no_gear_is_requested_or_shown(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete, "read,activity:read,activity:read_all")
    await process.stop()
    await feedzone.start()

    async def complete():
        _, body = await feedzone.api(f"athletes/{athlete}")
        return body["progress"]["completed"]

    await eventually(complete, 60)
    assert await feedzone.api(f"athletes/{athlete}/gear") == (200, {"items": [], "next_cursor": None})
    assert sandbox.world.journal.by_endpoint["athlete"] == 0


async def test_the_gear_of_an_unknown_athlete_is_not_found(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    status, problem = await feedzone.api("athletes/1/gear")
    assert (status, problem["status"]) == (404, 404)
