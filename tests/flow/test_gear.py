"""Gear, end to end: what stands in the profile at Strava is what the API and an export show."""

from __future__ import annotations

import json
import sqlite3


def tomorrow(feedzone) -> None:
    """A day passes: the gear is to be asked for again."""
    with sqlite3.connect(feedzone.home / "feedzone.db") as database:
        database.execute("UPDATE strava_athletes SET gear_due_at = '2020-01-01T00:00:00.000000Z'")


async def test_unused_retired_and_deleted_gear_is_told_apart(sandbox, install, eventually):
    """Pain 57: unused bike present, deleted one marked."""
    world = sandbox.world
    athlete = next(iter(world.athletes))
    unused = world.add_gear(athlete, "bike", "Never ridden")
    sold = world.add_gear(athlete, "bike", "To be sold")
    tired = world.add_gear(athlete, "shoe", "Tired")
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    await feedzone.connect(athlete)
    await process.stop()  # the scheduler looks every 30 s, and when it starts
    process = await feedzone.start()

    async def shown():
        _, found = await feedzone.api(f"athletes/{athlete}/gear")
        return {one["id"]: one for one in found["items"]}

    gear = await eventually(shown)
    assert set(gear) == {one.id for one in world.athlete(athlete).gear}
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
    assert {one["id"]: one for one in exported} == gear


async def test_without_the_profile_scope_nothing_is_asked_and_nothing_is_shown(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete, "read,activity:read,activity:read_all")
    await process.stop()
    await feedzone.start()

    async def complete():
        _, found = await feedzone.api(f"athletes/{athlete}")
        return found["progress"]["completed"]

    await eventually(complete, 60)
    assert await feedzone.api(f"athletes/{athlete}/gear") == (200, {"items": [], "next_cursor": None})
    assert sandbox.world.journal.by_endpoint["athlete"] == 0


async def test_the_gear_of_who_is_unknown_is_not_found(sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    status, problem = await feedzone.api("athletes/1/gear")
    assert (status, problem["status"]) == (404, 404)
