"""The sandbox's API, called in-process: order of lists, scopes, streams and rate limits."""

from __future__ import annotations

import pytest

from feedzone.sandbox import Answer, Behaviour, Limits, Sender, World, create_app, request

NOON = 1_795_003_200.0


class NoWire:
    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        raise AssertionError("this test posts no event")

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        raise AssertionError("this test makes no handshake")


class Client:
    """A world at noon UTC with one athlete, and an in-process client for it."""

    def __init__(self, limits: Limits | None = None, behaviour: Behaviour | None = None) -> None:
        self.now = NOON
        self.slept: list[float] = []
        self.world = World(5, lambda: self.now, limits, behaviour=behaviour)
        self.athlete = self.world.add_athlete(120)
        self.app = create_app(self.world, Sender(self.world, NoWire(), self.sleep))
        self.token = ""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def connect(self, *scopes: str) -> None:
        all_scopes = ["read", "activity:read", "activity:read_all", "profile:read_all"]
        self.token = self.world.connect(self.athlete.id, scopes or all_scopes).access_token

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        if self.token:
            headers.setdefault("authorization", f"Bearer {self.token}")
        return await request(self.app, method, path, body, headers)

    async def get(self, path: str) -> Answer:
        return await self.call("GET", f"/api/v3{path}")


@pytest.fixture
def client() -> Client:
    connected = Client()
    connected.connect()
    return connected


def error(answer: Answer) -> tuple[int, str, str, str]:
    first = answer.json["errors"][0]
    return answer.status, first["resource"], first["field"], first["code"]


async def test_the_list_is_newest_first_unless_only_after_is_given(client: Client) -> None:
    def starts(answer: Answer) -> list[str]:
        return [row["start_date"] for row in answer.json]

    newest = starts(await client.get("/athlete/activities?per_page=200"))
    oldest = starts(await client.get(f"/athlete/activities?per_page=200&after={NOON - 9e6:.0f}"))
    both = starts(
        await client.get(f"/athlete/activities?per_page=200&after={NOON - 9e6:.0f}&before={NOON:.0f}")
    )
    assert newest == sorted(newest, reverse=True)
    assert oldest == sorted(oldest)
    assert both == sorted(both, reverse=True)
    assert len(oldest) == len(both) > 30


async def test_paging_until_an_empty_page_returns_every_activity_once(client: Client) -> None:
    seen: list[int] = []
    for page in range(1, 100):
        rows = (await client.get(f"/athlete/activities?per_page=7&page={page}")).json
        if not rows:
            break
        seen += [row["id"] for row in rows]
    assert len(seen) == len(set(seen))
    assert set(seen) == {row["id"] for row in client.world.truth(client.athlete.id)}


async def test_more_than_200_a_page_is_refused(client: Client) -> None:
    assert (await client.get("/athlete/activities?per_page=201")).status == 400


async def test_only_you_activities_need_read_all(client: Client) -> None:
    secret = client.world.record(client.athlete.id, visibility="only_me")
    assert (await client.get(f"/activities/{secret.id}")).status == 200
    client.connect("read", "activity:read")
    assert error(await client.get(f"/activities/{secret.id}")) == (404, "Activity", "", "not found")
    assert secret.id not in [row["id"] for row in (await client.get("/athlete/activities")).json]


async def test_without_an_activity_scope_data_is_401_and_no_event_is_sent(client: Client) -> None:
    client.connect("read")
    before = client.world.journal.event_count
    answer = await client.get("/athlete/activities")
    assert error(answer) == (401, "AccessToken", "activity:read_permission", "missing")
    client.world.record(client.athlete.id)
    assert client.world.journal.event_count == before


async def test_without_read_all_hiding_an_activity_sends_a_delete(client: Client) -> None:
    client.connect("read", "activity:read")
    spec = client.world.record(client.athlete.id)
    client.world.hide(spec.id)
    client.world.rename(spec.id, "Still hidden")
    client.world.unhide(spec.id)
    aspects = [event.aspect_type for _, event in client.world.journal.events]
    assert aspects == ["create", "delete", "create"]


async def test_with_read_all_hiding_an_activity_sends_an_update_with_string_values(client: Client) -> None:
    spec = client.world.record(client.athlete.id)
    client.world.hide(spec.id)
    client.world.unhide(spec.id)
    updates = [event.updates for _, event in client.world.journal.events]
    assert updates == [{}, {"private": "true"}, {"private": "false"}]


async def test_the_athlete_is_detailed_only_with_profile_read_all(client: Client) -> None:
    assert "bikes" in (await client.get("/athlete")).json
    client.connect("read", "activity:read")
    assert "bikes" not in (await client.get("/athlete")).json


async def test_an_athlete_cannot_read_another_athletes_activities(client: Client) -> None:
    other = client.world.record(client.world.add_athlete(0).id)
    assert (await client.get(f"/activities/{other.id}")).status == 404


async def test_streams_are_an_object_or_array_and_always_include_distance(client: Client) -> None:
    ride = client.world.record(client.athlete.id, "Ride", 30)
    path = f"/activities/{ride.id}/streams"
    keyed = (await client.get(f"{path}?keys=time,latlng&key_by_type=true")).json
    listed = (await client.get(f"{path}?keys=time,latlng")).json
    bare = (await client.get(f"{path}?key_by_type=true")).json
    assert set(keyed) == {"time", "latlng", "distance"}
    assert {row["type"] for row in listed} == set(keyed)
    assert set(bare) == {"distance"}
    assert keyed["time"]["original_size"] == len(keyed["time"]["data"])


async def test_stream_calls_count_but_carry_no_rate_limit_headers(client: Client) -> None:
    run = client.world.record(client.athlete.id)
    answer = await client.get(f"/activities/{run.id}/streams?keys=time&key_by_type=true")
    assert not [name for name in answer.headers if "ratelimit" in name]
    assert (await client.get("/athlete")).headers["x-ratelimit-usage"] == "2,2"


async def test_a_manual_activity_answers_404_for_streams(client: Client) -> None:
    swim = client.world.record(client.athlete.id, "Swim", manual=True)
    answer = await client.get(f"/activities/{swim.id}/streams?keys=time&key_by_type=true")
    assert answer.json["message"] == "Resource Not Found"


async def test_every_documented_endpoint_of_an_activity_responds(client: Client) -> None:
    run = client.world.record(client.athlete.id)
    for part in ("", "/laps", "/comments", "/photos?size=5000"):
        assert (await client.get(f"/activities/{run.id}{part}")).status == 200
    assert (await client.get(f"/activities/{run.id}/zones")).status in (200, 402)
    upload = (await client.get(f"/uploads/{client.world.summary(run)['upload_id']}")).json
    assert upload["activity_id"] == run.id
    assert (await client.get(f"/gear/{run.gear_id}")).json["id"] == run.gear_id
    client.world.retire_gear(client.athlete.id, str(run.gear_id), delete=True)
    assert (await client.get(f"/gear/{run.gear_id}")).status == 404


async def test_after_the_15_minute_limit_calls_get_429_until_the_next_window() -> None:
    client = Client(Limits(10, 100, 3, 50))
    client.connect()
    statuses = [(await client.get("/athlete")).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = await client.get("/athlete")
    assert error(refused) == (429, "Application", "rate limit", "exceeded")
    assert refused.headers["x-readratelimit-usage"] == "6,6"
    client.now = NOON + 899
    assert (await client.get("/athlete")).status == 429
    client.now = NOON + 900
    again = await client.get("/athlete")
    assert again.status == 200
    assert again.headers["x-readratelimit-usage"] == "1,8"
    assert client.world.journal.answered_429 == client.world.journal.over_limit == 4


async def test_after_the_daily_limit_calls_get_429_until_midnight_utc() -> None:
    client = Client(Limits(100, 4, 100, 4))
    client.connect()
    client.world.consume(4)
    client.now = NOON + 6 * 3600
    assert error(await client.get("/athlete"))[2] == "overall rate limit"
    client.now = NOON + 12 * 3600
    client.connect()
    assert (await client.get("/athlete")).status == 200


async def test_limits_can_change_while_running(client: Client) -> None:
    assert (await client.call("POST", "/control/limits", b'{"short":400,"read_short":300}')).status == 200
    answer = await client.get("/athlete")
    assert answer.headers["x-ratelimit-limit"] == "400,2000"
    assert answer.headers["x-readratelimit-limit"] == "300,1000"
