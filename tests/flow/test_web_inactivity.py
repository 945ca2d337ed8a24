"""Idle athletes, and athletes without events, in API and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from browsing import connect, words
from web_world import KEY, World, web_world

from feedzone.domain.activity import ActivityRecord
from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import StoreReconciliation
from feedzone.domain.reconciliation import refresh
from feedzone.store import effects, subscriptions
from feedzone.store.engine.database import Database


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """Three athletes who connected an hour after each other: 42, 43, 44."""
    async with web_world(database) as world:
        await world.database.write(
            lambda c: subscriptions.remember(c, 1, "https://x.test", world.clock.now())
        )
        for number in (42, 43, 44):
            world.desk.profile = AthleteProfile(number, None, f"Ada {number}", None)
            await world.connect()
            world.clock.pass_by(hours=1)
        yield world


async def days_of_silent_rides(world: World, days: int, athlete_id: int = 42) -> None:
    """Store a ride a day that reconciliation finds without an event."""
    for _ in range(days):
        world.clock.pass_by(days=1)
        now = world.clock.now()
        columns = {"name": "Ride", "start_date": now - timedelta(hours=2), "elapsed_time": 1800}
        number = int(now.timestamp())
        record = ActivityRecord(number, athlete_id, "summary", columns, "{}")
        effect = StoreReconciliation(athlete_id, True, (record,), (refresh(athlete_id, number),), (), 2)
        await world.database.write(lambda c, e=effect, now=now: effects.apply(c, [e], now))


async def ask(world: World, **params: object) -> dict:
    async with world.browser(headers=KEY) as client:
        answer = await client.get("/api/v1/athletes", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(world: World, **params: object) -> list[int]:
    return [one["id"] for one in (await ask(world, **params))["items"]]


async def page(world: World, path: str) -> str:
    async with world.browser() as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return words(answer.text)


async def test_athletes_can_be_filtered_by_idle_days(world: World) -> None:
    """Departed users hold seats."""
    world.clock.pass_by(days=60)
    await world.deliver(1, owner=43)
    world.clock.pass_by(days=30)
    assert await ids(world, idle_days=91) == []
    assert await ids(world, idle_days=90) == [42, 44]
    assert await ids(world, idle_days=30) == [42, 43, 44]
    await world.parts.athletes.disconnect(42)
    assert await ids(world, idle_days=90) == [44]
    assert await ids(world) == [42, 43, 44]


async def test_every_idle_athlete_is_on_exactly_one_page(world: World) -> None:
    world.clock.pass_by(days=60)
    await world.deliver(1, owner=43)
    first = await ask(world, idle_days=60, limit=1)
    rest = await ask(world, idle_days=60, limit=1, cursor=first["next_cursor"])
    assert [one["id"] for one in first["items"] + rest["items"]] == [42, 44]
    assert rest["next_cursor"] is None


async def test_each_athlete_shows_the_start_of_idleness(world: World) -> None:
    """The latest of: when they connected, their last event, the start of their last activity."""
    connected, *_ = (await ask(world))["items"]
    assert connected["idle_since"] == connected["connected_at"] == "2026-11-03T08:00:00Z"
    world.clock.pass_by(hours=1)
    await world.deliver(1)
    later = (await ask(world))["items"][0]
    assert later["idle_since"] == later["last_event_at"] == "2026-11-03T12:00:00Z"
    await world.store(1, start_date=datetime.fromisoformat("2026-11-03T12:30:00Z"))
    async with world.browser(headers=KEY) as client:
        one = (await client.get("/api/v1/athletes/42")).json()
    assert one["idle_since"] == "2026-11-03T12:30:00Z"


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5", "", "36501", "99999999999999999999"])
async def test_invalid_idle_days_are_a_400_that_names_the_parameter(world: World, days: str) -> None:
    async with world.browser(headers=KEY) as client:
        answer = await client.get(f"/api/v1/athletes?idle_days={days}")
        assert (await client.get(f"/athletes?idle_days={days}")).status_code == 400
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "idle_days" in answer.json()["detail"]


async def test_quiet_athletes_are_flagged_everywhere(world: World) -> None:
    """All scopes were granted, and still no event comes."""
    await days_of_silent_rides(world, 2)
    await world.deliver(1, owner=43)
    assert [one["quiet"] for one in (await ask(world))["items"]] == [False, False, False]
    assert "Events arrive for every athlete who uploads." in await page(world, "/health")
    world.clock.pass_by(minutes=2)
    await days_of_silent_rides(world, 1)
    athletes = (await ask(world))["items"]
    assert [(one["quiet"], one["no_events_expected"]) for one in athletes] == [
        (True, False),
        *[(False, False)] * 2,
    ]
    assert await ids(world, quiet=True) == [42]
    assert await ids(world, quiet=False) == [43, 44]
    assert (await world.parts.queries.athletes.get(42)).quiet
    async with world.browser(headers=KEY) as client:
        assert (await client.get("/api/v1/status")).json()["quiet_athletes"] == 1


async def test_health_shows_the_number_of_quiet_athletes_and_the_fix(world: World) -> None:
    await days_of_silent_rides(world, 3)
    health = await page(world, "/health")
    assert "1 athlete is quiet" in health
    assert "connect again with all boxes ticked" in health
    assert "subscription" in health
    assert "1 athlete is quiet" in await page(world, "/")
    await world.deliver(1)
    world.clock.pass_by(minutes=2)
    assert "is quiet" not in await page(world, "/health")


async def test_pages_show_quiet_and_idle_athletes(world: World) -> None:
    await days_of_silent_rides(world, 3)
    assert "Ada 42 connected no webhooks" in await page(world, "/athletes")
    quiet = await page(world, "/athletes?quiet=true")
    assert "Ada 42" in quiet
    assert "Ada 43" not in quiet
    assert "Reconnecting with all boxes checked" in await page(world, "/athletes/42")
    assert "all boxes checked" not in await page(world, "/athletes/43")
    assert "No athlete has been idle for 90 days." in await page(world, "/athletes?idle_days=90")
    world.clock.pass_by(days=88)
    idle = await page(world, "/athletes?idle_days=90")
    assert "Ada 43" in idle
    assert "Ada 42" not in idle
    assert "Webhooks arrive for all athletes." in await page(world, "/athletes?quiet=true")


async def test_pages_of_a_filtered_list_stay_filtered(world: World) -> None:
    for number in range(50, 80):
        world.desk.profile = AthleteProfile(number, None, f"Ada {number}", None)
        await world.connect()
    world.clock.pass_by(days=90)
    await world.deliver(1, owner=43)
    async with world.browser() as browser:
        first = (await browser.get("/athletes?idle_days=90")).text
        more = first.split('class="more"><a href="')[1].split('"')[0].replace("&amp;", "&")
        rest = words((await browser.get(more)).text)
    assert "idle_days=90" in more
    assert "Ada 43" not in first + rest
    assert "Ada 79" in rest


async def test_an_athletes_own_page_says_that_no_events_come(world: World) -> None:
    world.desk.profile = AthleteProfile(42, None, "Ada 42", None)
    async with world.browser() as browser:
        await connect(world, browser)
        assert "all boxes checked" not in words((await browser.get("/me")).text)
        await days_of_silent_rides(world, 3)
        text = words((await browser.get("/me")).text)
    assert "Reconnect and keep all boxes checked." in text
