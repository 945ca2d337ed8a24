"""The sandbox plays somebody else who answers instead of Strava: at some endpoints, for a while."""

from __future__ import annotations

import msgspec
import pytest
from test_sandbox_control import NOON, Client

from feedzone.sandbox import MARK, NAMES, request


async def act(client: Client, path: str, **body: object):
    return await request(client.app, "POST", f"/control/{path}", msgspec.json.encode(body))


@pytest.fixture
def client() -> Client:
    made = Client()
    made.connect()
    return made


async def get(client: Client, path: str):
    headers = {"authorization": f"Bearer {client.token}"}
    return await request(client.app, "GET", f"/api/v3/{path}", headers=headers)


def paths(client: Client) -> dict[str, str]:
    spec = next(spec for spec in client.world.activities.values() if not spec.manual)
    detail = f"activities/{spec.id}"
    return {
        "activity": detail,
        "streams": f"{detail}/streams",
        "athlete": "athlete",
        "list_activities": "athlete/activities",
    }


@pytest.mark.parametrize("answer", NAMES)
async def test_every_answer_comes_at_its_endpoint_for_its_time_only(client, answer):
    urls = paths(client)
    true = {name: await get(client, url) for name, url in urls.items()}
    assert (await act(client, "impostors", answer=answer, seconds=60, endpoints=["activity"])).status == 200
    for name, url in urls.items():
        got = await get(client, url)
        assert (got.body == true[name].body) == (name != "activity")
    client.now = NOON + 61
    assert (await get(client, urls["activity"])).body == true["activity"].body


@pytest.mark.parametrize("answer", [name for name in NAMES if name not in ("not_found", "truncated")])
async def test_a_foreign_answer_is_marked_and_never_reaches_strava(client, answer):
    url = paths(client)["activity"]
    await act(client, "impostors", answer=answer, seconds=60)
    before = client.world.meter.usage(NOON)
    got = await get(client, url)
    assert got.headers[MARK[0]] == MARK[1]
    assert client.world.meter.usage(NOON) == before


async def test_stravas_own_404_is_about_the_activity_and_only_about_the_named_ones(client):
    url = paths(client)["activity"]
    await act(client, "impostors", answer="not_found", seconds=60, ids=[1])
    assert (await get(client, url)).status == 200
    await act(client, "impostors", answer="not_found", seconds=60, ids=[int(url.rpartition("/")[2])])
    got = await get(client, url)
    assert (got.status, got.json["errors"][0]["resource"]) == (404, "Activity")
    assert MARK[0] not in got.headers
    assert (await get(client, paths(client)["list_activities"])).status == 200


async def test_fresh_activities_are_sometimes_missing_though_the_list_shows_them(client):
    fresh = client.world.record(client.athlete.id, minutes=2)
    await act(client, "faults", stray_404=1.0)
    assert (await get(client, f"activities/{fresh.id}")).status == 404
    assert fresh.id in {entry["id"] for entry in (await get(client, "athlete/activities")).json}
    client.now = NOON + 901
    assert (await get(client, f"activities/{fresh.id}")).status == 200


async def test_the_controls_list_and_end_them_and_refuse_unknown_answers(client):
    listed = await request(client.app, "GET", "/control/impostors")
    assert listed.json == {"answers": list(NAMES), "active": []}
    assert len((await act(client, "impostors", answer="html_404", seconds=9)).json) == 1
    assert (await act(client, "impostors/end")).json == []
    refused = await act(client, "impostors", answer="html_299", seconds=9)
    assert (refused.status, "html_404" in refused.json["error"]) == (400, True)
