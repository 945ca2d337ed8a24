"""What spent my quota today, and when is it done? Asked by API and by command line."""

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
    """The list has been read; so many activities are still to be fetched, and one has been."""

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


async def test_the_budget_says_what_spent_it_and_for_whom(world: World) -> None:
    journal, now = CallLog(world.database, world.clock), world.clock.now()
    for minutes, lane in ((5, "live"), (6, "backfill"), (70, "backfill")):
        at = now - timedelta(minutes=minutes)
        journal.note(ApiCall(at, lane, 42, "GET activities/{id}", 200, 200, {}, counted=True))
    await journal.flush()
    found = await get(world, "budget")
    assert {window["window"] for window in found["windows"]} == {
        "overall_15min",
        "overall_day",
        "read_15min",
        "read_day",
    }
    assert set(found["windows"][0]) == {"window", "used", "quota", "starts_at", "ends_at", "latched"}
    spent = found["spent"]
    assert (spent["calls"], spent["by_lane"]) == (3, {"backfill": 2, "live": 1})
    assert spent["by_athlete"] == [{"athlete_id": 42, "calls": 3}]
    assert sum(hour["calls"] for hour in spent["by_hour"]) == 3


async def test_an_athlete_and_the_status_say_when_it_is_done(world: World) -> None:
    """Pain 47: 160 calls are more than a quarter's hundred."""
    await a_listed_sync(world, 80)
    sync = (await get(world, "athletes/42"))["sync"]
    assert (sync["activities_done"], sync["activities_total"], sync["calls_needed"]) == (1, 81, 160)
    assert sync["done_at"].startswith("2026-11-03T08:15:0")
    queue = (await get(world, "status"))["queue"]
    assert queue == {"calls_needed": 160, "done_at": sync["done_at"]}
    assert (await get(world, "athletes"))["items"][0]["sync"] == sync


async def test_while_the_list_is_not_read_there_is_no_date(world: World) -> None:
    sync = (await get(world, "athletes/42"))["sync"]
    assert (sync["calls_needed"], sync["done_at"]) == (2, None)


async def test_what_more_athletes_would_cost(world: World) -> None:
    await a_listed_sync(world, 10)
    found = await get(world, "budget/forecast", athletes=5, activities=80)
    assert (found["calls"], found["waiting_before"]) == (5 * 162, 20)
    assert found["done_at"].startswith("2026-11-03T10:00:0")  # 830 calls, a hundred a quarter
    await get(world, "budget/forecast", 400, athletes=-1)


async def test_what_all_of_an_athletes_history_would_cost_is_told_before_it_is_asked_for(
    world: World,
) -> None:
    """Pain 47."""
    (athlete,) = (await get(world, "athletes"))["items"][:1]
    found = await get(world, f"athletes/{athlete['id']}/forecast", years=10)
    assert found["years"] == 10
    assert found["calls"] >= 2 * found["activities"] >= 0
    await get(world, f"athletes/{athlete['id']}/forecast", 400, years=0)
    await get(world, "athletes/999/forecast", 404)


async def test_the_command_answers_a_stranger(sandbox, install) -> None:
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
