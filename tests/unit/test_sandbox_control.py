"""The sandbox's faults, controls and pages, called in-process."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from feedzone.sandbox import (
    Answer,
    Behaviour,
    ConnectionDroppedError,
    Limits,
    Sender,
    World,
    create_app,
    request,
)

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

    async def post(self, path: str, **form: str) -> Answer:
        return await self.call("POST", path, urlencode(form).encode())

    async def control(self, path: str, **body: Any) -> Answer:
        return await self.call("POST", f"/control{path}", msgspec.json.encode(body))

    async def token_call(self, **form: str) -> Answer:
        return await self.post("/oauth/token", client_id="12345", client_secret="sandbox-secret", **form)


@pytest.fixture
def client() -> Client:
    connected = Client()
    connected.connect()
    return connected


def error(answer: Answer) -> tuple[int, str, str, str]:
    first = answer.json["errors"][0]
    return answer.status, first["resource"], first["field"], first["code"]


async def test_an_inactive_application_gets_403_except_for_token_refreshes(client: Client) -> None:
    await client.control("/inactive", inactive=True)
    assert error(await client.get("/athlete")) == (403, "Application", "Status", "Inactive")
    token = client.world.grants.live[client.athlete.id].refresh_token
    assert (await client.token_call(grant_type="refresh_token", refresh_token=token)).status == 200


async def test_only_a_poisoned_activity_gets_500(client: Client) -> None:
    bad, good = client.world.record(client.athlete.id), client.world.record(client.athlete.id)
    await client.control("/faults", poison=[bad.id])
    poisoned = await client.get(f"/activities/{bad.id}")
    assert (poisoned.status, poisoned.json) == (500, {"message": "error"})
    assert (await client.get(f"/activities/{good.id}")).status == 200


async def test_a_connection_can_break_before_or_after_the_request_takes_effect(client: Client) -> None:
    grant = client.world.grants.live[client.athlete.id]
    client.now += 6 * 3600
    for kind, acted in (("reset_before", False), ("timeout_after", True)):
        client.world.faults.change({kind: 1.0})
        old = grant.refresh_token
        with pytest.raises(ConnectionDroppedError) as caught:
            await client.token_call(grant_type="refresh_token", refresh_token=old)
        assert caught.value.acted is acted
        assert (grant.refresh_token != old) is acted
        client.world.faults.change({kind: 0.0})
    assert [call.status for call in client.world.journal.calls] == [0, 0]


async def test_new_activities_and_their_streams_can_be_delayed(client: Client) -> None:
    client.world.faults.change({"visible_delay_s": 10, "stream_delay_s": 60, "slow": 1.0, "slow_s": 3})
    run = client.world.record(client.athlete.id)
    assert (await client.get(f"/activities/{run.id}")).status == 404
    client.now += 10
    assert (await client.get(f"/activities/{run.id}")).status == 200
    path = f"/activities/{run.id}/streams?keys=time&key_by_type=true"
    assert (await client.get(path)).json == {}
    client.now += 50
    assert (await client.get(path)).json["time"]["data"]
    assert client.slept == [3, 3, 3, 3]


async def test_the_controls_act_as_athletes_and_truth_shows_the_result(client: Client) -> None:
    recorded = await client.control(
        "/activities", athlete_id=client.athlete.id, sport="Ride", minutes=40, name="Late", started_days_ago=6
    )
    late = recorded.json["id"]
    assert (await client.control(f"/activities/{late}/rename", name="Later")).json["name"] == "Later"
    await client.control(f"/activities/{late}/edit", description="Quietly", workout_type=12)
    await client.control(f"/activities/{late}/type", sport_type="GravelRide")
    [row] = [
        r for r in (await client.call("GET", f"/control/truth/{client.athlete.id}")).json if r["id"] == late
    ]
    assert (row["name"], row["description"], row["workout_type"]) == ("Later", "Quietly", 12)
    assert (row["sport_type"], row["type"]) == ("GravelRide", "Ride")
    assert row["start_date"] < "2026-11-13"
    await client.control(f"/activities/{late}/delete")
    assert (await client.get(f"/activities/{late}")).status == 404
    events = [(event.aspect_type, event.updates) for _, event in client.world.journal.events]
    assert events == [
        ("create", {}), ("update", {"title": "Later"}), ("update", {"type": "Ride"}), ("delete", {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/activities", {"athlete_id": 1}, 404),
        ("/activities", {"sport": "Run"}, 400),
        ("/activities", {"athlete_id": "me"}, 400),
        ("/activities/5/rename", {"name": "x"}, 404),
        ("/faults", {"gremlins": 1}, 400),
        ("/limits", {"short": "many"}, 400),
        ("/nonsense", {}, 404),
    ],
)
async def test_bad_control_input_is_explained(client: Client, path: str, body: Any, status: int) -> None:
    answer = await client.control(path, **body)
    assert answer.status == status
    assert answer.json["error"]


async def test_the_home_page_lists_athletes_and_its_buttons_work(client: Client) -> None:
    home = await client.call("GET", "/")
    assert client.athlete.last_name.encode() in home.body
    pressed = await client.post("/ui/record", athlete_id=str(client.athlete.id), sport="Run", minutes="30")
    assert (pressed.status, pressed.headers["location"]) == (303, "/")
    assert client.world.journal.event_count == 1
    assert (await client.post("/ui/rename", activity_id="1", name="x")).status == 400


async def test_gear_can_be_added_retired_and_deleted(client: Client) -> None:
    client.connect()
    owned = [gear["id"] for gear in (await client.get("/athlete")).json["bikes"]]
    bought = (await client.control(f"/athletes/{client.athlete.id}/add-gear", kind="bike", name="New")).json
    shoes = (await client.control(f"/athletes/{client.athlete.id}/add-gear", kind="shoe", name="Mule")).json
    assert (bought["id"][0], bought["distance"], bought["retired"]) == ("b", 0, False)
    assert shoes["id"][0] == "g"
    profile = (await client.get("/athlete")).json
    assert [gear["id"] for gear in profile["bikes"]] == [*owned, bought["id"]]
    await client.control(f"/athletes/{client.athlete.id}/retire-gear", gear_id=shoes["id"])
    await client.control(f"/athletes/{client.athlete.id}/retire-gear", gear_id=bought["id"], delete=True)
    profile = (await client.get("/athlete")).json
    assert [gear["id"] for gear in profile["bikes"]] == owned
    assert {gear["id"]: gear["retired"] for gear in profile["shoes"]}[shoes["id"]] is True
    again = (await client.control(f"/athletes/{client.athlete.id}/add-gear", kind="bike", name="Newer")).json
    assert again["id"] not in (bought["id"], *owned)


async def test_gear_of_an_unknown_kind_is_refused(client: Client) -> None:
    answer = await client.control(f"/athletes/{client.athlete.id}/add-gear", kind="kite", name="New")
    assert (answer.status, answer.json) == (400, {"error": "kind is bike or shoe"})


async def test_a_photo_is_a_placeholder_until_it_is_processed(client: Client) -> None:
    client.connect()
    client.world.faults.photo_delay_s = 60
    ride = client.world.record(client.athlete.id, "Ride", photos=1)

    async def urls() -> list[str]:
        listed = (await client.get(f"/activities/{ride.id}/photos?size=5000")).json
        return [photo["urls"]["5000"] for photo in listed]

    assert (await client.get(f"/activities/{ride.id}")).json["total_photo_count"] == 1
    (first,) = await urls()
    assert "placeholder" in first
    client.now += 60
    (second,) = await urls()
    assert "placeholder" not in second
    answer = await client.control(f"/activities/{ride.id}/photos", count=2)
    assert answer.status == 200
    unchanged, new = await urls()
    assert unchanged == second
    assert "placeholder" in new
    await client.control(f"/activities/{ride.id}/photos", count=0)
    assert (await client.get(f"/activities/{ride.id}")).json["total_photo_count"] == 0
    assert await urls() == []


async def test_a_negative_number_of_photos_is_refused(client: Client) -> None:
    ride = client.world.record(client.athlete.id, "Ride")
    assert (await client.control(f"/activities/{ride.id}/photos", count=-1)).status == 400
