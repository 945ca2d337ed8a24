"""The API under /api/v1, as client programs use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from web_world import (
    ACCESS_TOKEN,
    BEGIN,
    DETAIL,
    KEY,
    REFRESH_TOKEN,
    RIDE,
    STREAMS,
    SUMMARY,
    World,
    web_world,
)

from feedzone.domain.effect import PurgeAthlete, Tombstone
from feedzone.errors import StorageUnavailable
from feedzone.store import activities, effects
from feedzone.store.engine.database import Database


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with web_world(database) as world:
        await world.connect()
        yield world


async def get(world: World, path: str, **params: object) -> dict:
    async with world.browser(headers=KEY) as client:
        answer = await client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def problem(world: World, method: str, path: str, expected: int, **request: object) -> dict:
    """Return the problem document of a request."""
    async with world.browser(headers=KEY) as client:
        answer = await client.request(method, path, **request)
    assert answer.status_code == expected, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == expected
    return document


async def test_without_the_key_every_request_is_refused(world: World) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic OmtleS1vZi10aGUtYXBp"}):
        async with world.browser(headers=headers) as client:
            answer = await client.get("/api/v1/athletes/42")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_without_a_configured_key_the_response_says_so(database: Database) -> None:
    async with web_world(database, api_key="") as world:
        for key in ("", "x"):
            async with world.browser(headers={"Authorization": f"Bearer {key}"}) as client:
                answer = await client.get("/api/v1/status")
            assert answer.status_code == 401
            assert "API_KEY" in answer.json()["detail"]


async def test_an_activity_keeps_its_id_its_times_and_every_byte_that_strava_sent(world: World) -> None:
    await world.store(RIDE, level="summary", status="pending")
    await world.store(RIDE)
    async with world.browser(headers=KEY) as client:
        answer = await client.get(f"/api/v1/activities/{RIDE}")
    assert f'"id":{RIDE},' in answer.text
    assert f'"summary":{SUMMARY}' in answer.text
    assert f'"detail":{DETAIL}' in answer.text
    activity = answer.json()
    assert activity["start_date"] == "2026-11-03T06:00:00Z"
    assert activity["start_date_local"] == "2026-11-03T07:00:00"
    assert activity["distance"] == 42195.0
    assert activity["sync_status"] == "synced"
    assert activity["streams"] is None


async def test_streams_come_back_in_stravas_shape(world: World) -> None:
    await world.store(RIDE)
    await world.store_streams(RIDE)
    assert await get(world, f"activities/{RIDE}/streams") == STREAMS


@pytest.mark.parametrize("state", ["pending", "absent"])
async def test_missing_streams_say_why(world: World, state: str) -> None:
    await world.store(RIDE)
    await world.store_streams(RIDE, state)
    document = await problem(world, "GET", f"/api/v1/activities/{RIDE}/streams", 404)
    assert state in document["detail"]


async def test_streams_that_were_not_fetched_yet_are_pending(world: World) -> None:
    await world.store(RIDE)
    assert "pending" in (await problem(world, "GET", f"/api/v1/activities/{RIDE}/streams", 404))["detail"]


async def test_a_deleted_activity_is_not_found_and_says_that_it_was_deleted(world: World) -> None:
    await world.store(RIDE)
    await world.database.write(lambda c: activities.tombstone(c, RIDE, 42, "event:x", world.clock.now()))
    assert "deleted" in (await problem(world, "GET", f"/api/v1/activities/{RIDE}", 404))["detail"]
    assert (await get(world, "activities"))["items"] == []


async def test_every_activity_is_on_exactly_one_page(world: World) -> None:
    for number in range(7):
        # Three of them begin at the same instant.
        await world.store(RIDE + number, start_date=BEGIN - timedelta(hours=min(number, 4)))
    seen, cursor = [], None
    while True:
        page = await get(world, "activities", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[:4] == [RIDE, RIDE + 1, RIDE + 2, RIDE + 3]
    assert sorted(seen) == [RIDE + number for number in range(7)]


async def test_activities_can_be_filtered_by_athlete_time_and_sport(world: World) -> None:
    await world.store(1, start_date=BEGIN, sport_type="Run")
    await world.store(2, start_date=BEGIN - timedelta(days=1))

    async def ids(**params: object) -> list[int]:
        return [item["id"] for item in (await get(world, "activities", **params))["items"]]

    assert await ids(athlete_id=42) == [1, 2]
    assert await ids(athlete_id=7) == []
    assert await ids(sport_type="Run") == [1]
    assert await ids(after="2026-11-03T08:00:00Z") == [1]
    assert await ids(after=int(BEGIN.timestamp())) == [1]
    assert await ids(before="2026-11-03T09:00:00+01:00") == [2]
    assert await ids(before="2026-11-03") == [2]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/athletes/7", 404),
        ("GET", "/api/v1/activities/7", 404),
        ("GET", "/api/v1/athletes/ada", 404),
        ("PUT", "/api/v1/athletes", 405),
        ("POST", "/api/v1/athletes/7/sync", 404),
        ("POST", "/api/v1/activities/7/sync", 404),
        ("POST", "/api/v1/jobs/018f0000-0000-7000-8000-000000000000/retry", 404),
        ("POST", "/api/v1/jobs/none/retry", 404),
        ("DELETE", "/api/v1/athletes/7", 404),
    ],
)
async def test_every_error_is_a_problem_document(world: World, method: str, path: str, status: int) -> None:
    await problem(world, method, path, status)


@pytest.mark.parametrize(
    "body", [b"{", b'{"days": 0}', b'{"days": "x"}', b'{"dayz": 1}', b'{"days": 3, "all": true}', b"[]"]
)
async def test_an_invalid_sync_body_is_a_400(world: World, body: bytes) -> None:
    await problem(world, "POST", "/api/v1/athletes/42/sync", 400, content=body)


async def test_an_internal_error_reveals_no_details(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash() -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(world.parts.queries.status, "get", crash)
    assert "secret" not in (await problem(world, "GET", "/api/v1/status", 500))["detail"]


async def test_an_unavailable_database_is_a_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        raise StorageUnavailable("PostgreSQL: host db.internal")

    monkeypatch.setattr(world.parts.queries.status, "get", away)
    assert "db.internal" not in (await problem(world, "GET", "/api/v1/status", 503))["detail"]


async def test_an_athlete_shows_scopes_and_progress_and_never_a_token(world: World) -> None:
    await world.store(1, status="synced")
    await world.store(2, status="pending")
    await world.store(3, status="syncing")
    await world.store(4, status="failed")
    await world.store(5, status="synced", start_date=BEGIN - timedelta(days=400))
    async with world.browser(headers=KEY) as client:
        answer = await client.get("/api/v1/athletes/42")
    activity = answer.json()
    assert activity["scopes"] == ["activity:read", "activity:read_all", "read"]
    assert activity["token_expires_at"] == "2026-11-03T14:00:00Z"
    progress = activity["progress"]
    assert (progress["done"], progress["failed"], progress["pending"]) == (1, 1, 2)
    assert (progress["found"], progress["listed"], progress["completed"]) == (0, False, False)
    assert progress["started_at"] == "2026-11-03T08:00:00Z"
    listed = (await get(world, "athletes"))["items"]
    assert listed == [activity]
    for text in (answer.text, str(listed)):
        assert "token_encrypted" not in text
        assert ACCESS_TOKEN not in text
        assert REFRESH_TOKEN not in text


async def test_a_job_that_revokes_access_does_not_show_the_token(world: World) -> None:
    async with world.browser(headers=KEY) as client:
        await client.delete("/api/v1/athletes/42")
        answer = await client.get("/api/v1/jobs")
    (job,) = answer.json()["items"]
    assert (job["kind"], job["action"], job["cause"]) == ("revoke_athlete", "revoke", "request")
    assert "sealed" not in answer.text
    assert "v1." not in answer.text


async def test_removing_an_athlete_answers_with_the_receipt(world: World) -> None:
    await world.store(1)
    async with world.browser(headers=KEY) as client:
        answer = await client.delete("/api/v1/athletes/42")
        again = await client.delete("/api/v1/athletes/42")
    assert answer.status_code == 200
    receipt = answer.json()
    assert receipt["athlete_id"] == 42
    assert receipt["reason"] == "disconnected"
    assert receipt["counts"]["strava_activities"] == 1
    assert again.status_code == 404
    assert (await get(world, "athletes/42"))["status"] == "deauthorized"


@pytest.mark.parametrize("body", [None, {}, {"days": 7}, {"days": 90}, {"all": True}])
async def test_a_sync_can_be_requested(world: World, body: dict[str, int] | None) -> None:
    """While a backfill runs, a shorter one changes nothing."""
    begun = (await world.parts.queries.athletes.get(42)).progress
    world.clock.pass_by(hours=1)
    async with world.browser(headers=KEY) as client:
        answer = await client.post("/api/v1/athletes/42/sync", json=body)
    assert (answer.status_code, answer.json()) == (202, {"status": "queued"})
    progress, now = (await world.parts.queries.athletes.get(42)).progress, world.clock.now()
    more = {90: (now, now - timedelta(days=90)), 1: (now, None)}.get(sum((body or {}).values()))
    assert (progress.started_at, progress.after) == (more or (begun.started_at, begun.after))


async def test_one_activity_can_be_fetched_again(world: World) -> None:
    await world.store(RIDE)
    async with world.browser(headers=KEY) as client:
        answer = await client.post(f"/api/v1/activities/{RIDE}/sync")
    assert answer.status_code == 202
    (_, job) = (await get(world, "jobs"))["items"]
    assert (job["key"], job["lane"], job["state"]) == (f"activity:{RIDE}", "interactive", "queued")


async def test_a_dead_letter_can_be_retried_or_discarded_with_a_reason(world: World) -> None:
    first = await world.dead_letter(1)
    second = await world.dead_letter(2)
    dead = (await get(world, "jobs", state="dead"))["items"]
    assert [job["id"] for job in dead] == [first, second]
    assert dead[0]["last_error"] == "500 from Strava"
    async with world.browser(headers=KEY) as client:
        retried = await client.post(f"/api/v1/jobs/{first}/retry")
        refused = await client.post(f"/api/v1/jobs/{second}/discard", json={"reason": " "})
        dropped = await client.post(f"/api/v1/jobs/{second}/discard", json={"reason": "test ride"})
    assert (retried.status_code, refused.status_code, dropped.status_code) == (202, 400, 200)
    assert (await get(world, "jobs", state="dead"))["items"] == []


async def test_an_unknown_error_class_is_a_400_that_lists_the_classes(world: World) -> None:
    async with world.browser(headers=KEY) as client:
        unknown = await client.post("/api/v1/jobs/retry", json={"error_class": "nonsense"})
    assert unknown.status_code == 400
    assert "strava_error" in unknown.json()["detail"]


async def test_events_are_listed_newest_first_with_their_status(world: World) -> None:
    first = await world.deliver(RIDE)
    world.clock.pass_by(seconds=5)
    second = await world.deliver(RIDE, "update", title="Évian")
    strange = await world.deliver(7, "archive")
    page = await get(world, "events", limit=2)
    assert [event["id"] for event in page["items"]] == [strange, second]
    assert page["items"][1]["event_data"]["updates"] == {"title": "Évian"}
    rest = await get(world, "events", limit=2, cursor=page["next_cursor"])
    assert [event["id"] for event in rest["items"]] == [first]
    assert rest["next_cursor"] is None
    ignored = await get(world, "events", status="ignored")
    assert [event["id"] for event in ignored["items"]] == [strange]


async def test_the_change_feed_can_be_followed_without_missing_a_change(world: World) -> None:
    await world.store(RIDE)
    for number in range(5):
        world.clock.pass_by(minutes=1)
        await world.store(RIDE, name=f"Ride {number}")
    everything = (await get(world, "changes"))["items"]
    values = [(change["old_value"], change["new_value"]) for change in everything]
    assert values[:2] == [(None, "synced"), ("Morning Ride", "Ride 0")]  # that it is new, and its first edit
    assert [new for _, new in values[1:]] == [f"Ride {number}" for number in range(5)]
    page = await get(world, "changes", limit=2)
    rest = await get(world, "changes", since=page["items"][-1]["id"])
    assert page["items"] + rest["items"] == everything
    onward = await get(world, "changes", cursor=page["next_cursor"])
    assert onward["items"] == rest["items"]
    assert (await get(world, "changes", since="2026-11-03T08:04:00Z"))["items"] == everything[4:]
    assert (await get(world, "changes", since=BEGIN.timestamp() + 240))["items"] == everything[4:]


async def test_the_change_feed_says_what_was_deleted_and_who_left(world: World) -> None:
    await world.store(RIDE)
    await world.store(7)
    (*_, seen) = (await get(world, "changes"))["items"]
    gone, left = Tombstone(RIDE, 42, "event:x"), PurgeAthlete(42, "disconnected", "request", "the operator")
    await world.database.write(lambda c: effects.apply(c, [gone], world.clock.now()))
    (deleted,) = (await get(world, "changes", since=seen["id"]))["items"]
    assert (deleted["kind"], deleted["activity_id"], deleted["athlete_id"]) == ("deleted", RIDE, 42)
    await world.database.write(lambda c: effects.apply(c, [left], world.clock.now()))
    (last,) = (await get(world, "changes", since=deleted["id"]))["items"]
    assert (last["kind"], last["activity_id"], last["athlete_id"]) == ("left", None, 42)
    assert (last["field"], last["new_value"]) == ("status", "deauthorized")


async def test_the_status_shows_the_queue_and_its_age(world: World) -> None:
    await world.dead_letter(5)
    await world.deliver(RIDE)
    await world.deliver(7, owner=99)
    await world.deliver(8, owner=99)
    world.clock.pass_by(seconds=90)
    status = await get(world, "status")
    assert status["athletes"] == {"active": 1}
    assert "ignored" not in status["events"]
    assert status["oldest_due_s"] == 90.0
    assert status["queue_lag_s"] == 90.0
    assert status["dead_letters"] == status["jobs"]["dead"] == 1
    assert status["last_event_at"] == "2026-11-03T08:00:00Z"
    assert status["subscription"] is None
    assert status["forged_suspects"] == 0
    (unknown,) = status["unknown_owners"]
    assert (unknown["owner_id"], unknown["events"]) == (99, 2)
    windows = {window["window"]: window for window in status["quota"]}
    assert windows["read_15min"] == {
        "window": "read_15min",
        "used": 0,
        "quota": 100,
        "starts_at": "2026-11-03T08:00:00Z",
        "ends_at": "2026-11-03T08:15:00Z",
        "latched": False,
    }


async def test_the_reference_lists_every_endpoint_and_loads_nothing_from_elsewhere(world: World) -> None:
    async with world.browser() as client:
        page = await client.get("/docs")
        schema = (await client.get("/docs/openapi.json")).json()
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert len(schema["paths"]) == 25
    for path in schema["paths"]:
        assert path.startswith("/api/v1/")
        assert f"<code>{path}</code>" in page.text
    assert "local time of the place" in page.text
    not_found = schema["paths"]["/api/v1/activities/{activity_id}"]["get"]["responses"]["404"]
    assert list(not_found["content"]) == ["application/problem+json"]
    assert schema["components"]["schemas"]["Activity"]["properties"]["distance"]
