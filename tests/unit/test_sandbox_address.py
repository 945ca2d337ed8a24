"""The sandbox can move its API to an address without prefix, as Strava will in 2027."""

from __future__ import annotations

import msgspec
import pytest
from test_sandbox_api import Client

from feedzone.sandbox import ConnectionDroppedError, request

PATHS = ("athlete", "athlete/activities")


@pytest.fixture
def client() -> Client:
    made = Client()
    made.connect()
    return made


async def move(client: Client, **body: object):
    return await request(client.app, "POST", "/control/address", msgspec.json.encode(body))


async def test_before_the_move_the_new_address_is_no_api(client):
    for path in PATHS:
        assert (await client.get(f"/{path}")).status == 200
        assert (await client.call("GET", f"/{path}")).status == 404


@pytest.mark.parametrize("old_answer", ["redirect_301", "redirect_308", "html_200", "path_404", "empty_410"])
async def test_after_the_move_only_the_new_address_is_the_api(client, old_answer):
    true = [(await client.get(f"/{path}")).body for path in PATHS]
    used = client.world.meter.usage(client.now)
    assert (await move(client, old_answer=old_answer)).status == 200
    for path in PATHS:
        assert (await client.get(f"/{path}")).headers["x-sandbox-answer"] == "foreign"
    assert client.world.meter.usage(client.now) == used
    assert [(await client.call("GET", f"/{path}")).body for path in PATHS] == true
    credentials = "client_id=12345&client_secret=sandbox-secret"
    assert (await client.call("GET", f"/push_subscriptions?{credentials}")).json == []
    assert (await client.call("GET", "/")).status == 200
    assert (await client.call("GET", "/oauth/authorize")).status == 400


async def test_the_old_host_can_be_gone_and_come_back(client):
    await move(client, old_answer="nothing")
    with pytest.raises(ConnectionDroppedError):
        await client.get("/athlete")
    assert (await move(client, moved=False)).json == {"moved": False, "old_answer": None}
    assert (await client.get("/athlete")).status == 200
    assert (await move(client, old_answer=None)).status == 200
    assert (await client.get("/athlete")).body == (await client.call("GET", "/athlete")).body


async def test_an_unknown_answer_is_refused(client):
    assert (await move(client, old_answer="html_299")).status == 400
    assert (await client.get("/athlete")).status == 200
