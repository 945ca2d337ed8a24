"""Query parameters of the API: filters, cursors, and what is refused."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from web_world import KEY, World, web_world

from feedzone.store.engine.database import Database


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with web_world(database) as world:
        await world.connect()
        yield world


async def refusal(world: World, path: str) -> dict[str, Any]:
    async with world.browser(headers=KEY) as client:
        answer = await client.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    return answer.json()


@pytest.mark.parametrize(
    "path",
    [
        "activities?cursor=nonsense",
        "activities?cursor=WyJ4IiwxXQ",
        "athletes?cursor=e30",
        "events?cursor=IjEi",
        "jobs?cursor=%F0%9F%8D%8C",
        "changes?cursor=x",
        "changes?since=yesterday",
        "activities?after=soon",
        "activities?after=0001-01-01T00:00:00%2B14:00",
        "activities?after=9999-12-31T23:59:59Z",
        "activities?before=1899-12-31",
        "activities?updated_since=-99999999999",
        "changes?since=9999-12-31",
        "activities?ids=1,two",
        "activities?ids=9999999999999999999",
        "activities?ids=",
        "activities?sport=Swim",
        "status?verbose=1",
        "athletes/42?fields=name",
        "activities?limit=0",
        "activities?limit=201",
        "activities?athlete_id=one",
        "activities?athlete_id=9223372036854775808",
        "activities/9223372036854775808",
        "events?status=wonderful",
        "jobs?state=wonderful",
    ],
)
async def test_an_invalid_parameter_is_a_400_that_names_it(world: World, path: str) -> None:
    document = await refusal(world, path)
    named = path.partition("?")[2].partition("=")[0] or "activity_id"
    assert named in document["detail"]


FAR_CURSORS = (
    '["0001-01-01T00:00:00+14:00",1]',
    '["9999-12-31T23:59:59-14:00",1]',
    '["0001-01-01T00:00:00",1]',
    '["2026-11-03T08:00:00",1]',
    '["2026-11-03T08:00:00Z",9223372036854775808]',
    "[1e999,1]",
    '"\\ud800"',
    "[" * 100,
    "null",
)


@pytest.mark.parametrize("plain", FAR_CURSORS)
async def test_a_crafted_cursor_is_a_400_everywhere(world: World, plain: str) -> None:
    cursor = base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")
    await world.connect()
    lists = ("activities", "athletes", "events", "jobs", "changes")
    async with world.browser(headers=KEY) as browser:
        for path in (*(f"/api/v1/{name}" for name in lists), "/events", "/athletes"):
            assert (await browser.get(path, params={"cursor": cursor})).status_code == 400, path
        # Its cursors are local times.
        calendar = await browser.get("/athletes/42", params={"cursor": cursor})
    assert calendar.status_code == (200 if plain == FAR_CURSORS[3] else 400)


async def test_unknown_parameters_are_refused_with_the_known_ones(world: World) -> None:
    """Ignored, a misspelt filter would return everything, private activities included."""
    document = await refusal(world, "activities?sport=Swim&visible=everyone&limit=5")
    assert document["detail"] == (
        "sport, visible: unknown query parameters; this address takes after, athlete_id, before, cursor, "
        "ids, limit, sport_type, updated_since, visibility"
    )
    async with world.browser() as nobody:
        assert (await nobody.get("/api/v1/activities?sport=Swim")).status_code == 401


async def test_activities_are_filtered_by_visibility_change_and_ids(world: World) -> None:
    await world.store(1, visibility="everyone")
    await world.store(2, visibility="only_me")
    world.clock.pass_by(hours=1)
    await world.store(3, visibility="everyone")
    async with world.browser(headers=KEY) as browser:

        async def ids(**query: Any) -> list[int]:
            page = (await browser.get("/api/v1/activities", params=query)).json()
            return sorted(activity["id"] for activity in page["items"])

        assert await ids(visibility="everyone") == [1, 3]
        assert await ids(visibility="\x00") == []
        assert await ids(updated_since=world.clock.now().isoformat()) == [3]
        assert await ids(ids="2,3,99") == [2, 3]
        assert await ids(ids="2,3", visibility="only_me") == [2]
