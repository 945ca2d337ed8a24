"""Today's rate limit usage and forecasts, by API and command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from web_world import KEY, World, web_world

from feedzone.domain.job import JobSpec, Lane, RefreshHint
from feedzone.domain.quota.windows import ApiCall
from feedzone.store.engine.database import Database
from feedzone.store.jobs import lifecycle
from feedzone.store.quota.call_log import CallLog


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with web_world(database) as world:
        await world.connect()
        yield world


async def get(world: World, path: str, expected: int = 200, **params: object) -> dict:
    async with world.browser(headers=KEY) as client:
        answer = await client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == expected, answer.text
    return answer.json()


async def a_listed_sync(world: World, waiting: int) -> None:
    """Store a complete list, with `waiting` activities to fetch and one that is fetched."""

    def body(connection: object) -> None:
        connection.execute(lifecycle.jobs.delete())  # type: ignore[attr-defined]
        specs = [
            JobSpec(
                "refresh_activity", f"activity:{n}", 42, RefreshHint(cause="backfill"), 0, Lane.BACKFILL, n
            )
            for n in range(waiting)
        ]
        lifecycle.enqueue(connection, specs, world.clock.now())  # type: ignore[arg-type]

    await world.database.write(body)
    await world.store(1000)
    for number in range(waiting):
        await world.store(number, status="pending", level="summary")


async def test_the_budget_shows_usage_by_lane_and_athlete(world: World) -> None:
    journal, now = CallLog(world.database, world.clock), world.clock.now()
    for minutes, lane in ((5, "live"), (6, "backfill"), (70, "backfill")):
        at = now - timedelta(minutes=minutes)
        journal.note(ApiCall(at, lane, 42, "GET activities/{id}", 200, 200, {}, counted=True))
    await journal.flush()
    response = await get(world, "budget")
    assert {window["window"] for window in response["windows"]} == {
        "overall_15min",
        "overall_day",
        "read_15min",
        "read_day",
    }
    assert set(response["windows"][0]) == {"window", "used", "quota", "starts_at", "ends_at", "latched"}
    spent = response["spent"]
    assert (spent["calls"], spent["by_lane"]) == (3, {"backfill": 2, "live": 1})
    assert spent["by_athlete"] == [{"athlete_id": 42, "calls": 3}]
    assert sum(hour["calls"] for hour in spent["by_hour"]) == 3


async def test_athlete_and_status_forecast_when_the_queue_is_done(world: World) -> None:
    """160 calls do not fit the 100 of one window."""
    await a_listed_sync(world, 80)
    sync = (await get(world, "athletes/42"))["sync"]
    assert (sync["activities_done"], sync["activities_total"], sync["calls_needed"]) == (1, 81, 160)
    assert sync["done_at"].startswith("2026-11-03T08:15:0")
    queue = (await get(world, "status"))["queue"]
    assert queue == {"calls_needed": 160, "done_at": sync["done_at"]}
    assert (await get(world, "athletes"))["items"][0]["sync"] == sync


async def test_before_the_list_is_complete_there_is_no_forecast(world: World) -> None:
    sync = (await get(world, "athletes/42"))["sync"]
    assert (sync["calls_needed"], sync["done_at"]) == (2, None)


async def test_the_cost_of_more_athletes_is_forecast(world: World) -> None:
    await a_listed_sync(world, 10)
    response = await get(world, "budget/forecast", athletes=5, activities=80)
    assert (response["calls"], response["waiting_before"]) == (5 * 162, 20)
    assert response["done_at"].startswith("2026-11-03T10:00:0")  # 830 calls, a hundred a quarter
    await get(world, "budget/forecast", 400, athletes=-1)


async def test_the_cost_of_a_full_history_is_forecast_before_it_is_requested(
    world: World,
) -> None:
    (athlete,) = (await get(world, "athletes"))["items"][:1]
    response = await get(world, f"athletes/{athlete['id']}/forecast", years=10)
    assert response["years"] == 10
    assert response["calls"] >= 2 * response["activities"] >= 0
    await get(world, f"athletes/{athlete['id']}/forecast", 400, years=0)
    await get(world, "athletes/999/forecast", 404)


async def test_the_budget_command_shows_usage_queue_and_forecast(sandbox, install) -> None:
    feedzone = install(sandbox.url)
    await feedzone.start("serve", "--port", str(feedzone.port), "--no-worker")
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    before = await feedzone.run("budget")
    assert "Requests today: 0" in before.stdout
    assert "Queue: 2 requests, done " in before.stdout
    listing = await feedzone.run("athletes", "list")
    assert "0 of 0 activities, 2 requests queued, end not known yet" in listing.stdout
    synced = await feedzone.run("sync", str(athlete), "--all")
    assert synced.returncode == 0, synced.stderr
    after = await feedzone.run("budget", "--what-if-athletes", "5", "--what-if-activities", "800")
    assert after.returncode == 0, after.stderr
    free = ("token", "push_subscriptions")
    reads = sum(count for name, count in sandbox.world.journal.by_endpoint.items() if name not in free)
    assert f"Requests today: {reads}" in after.stdout
    assert "program" not in after.stdout
    assert str(athlete) in after.stdout
    assert "5 more athletes with 800 activities each:\n    8,025 requests" in after.stdout
