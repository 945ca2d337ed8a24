"""Consent, tokens, revocation and the push subscription of the sandbox, called in-process."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest

from feedzone.sandbox import Answer, Behaviour, Limits, Sender, World, create_app, request

NOON = 1_795_003_200.0
BACK = "http://localhost:8000/connect/callback"


class FakeWire:
    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        raise AssertionError("this test posts no event")

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        reply = {
            "http://good/": (200, "application/json", {"hub.challenge": params["hub.challenge"]}),
            "http://wrong/": (200, "application/json", {"hub.challenge": "something else"}),
            "http://text/": (200, "text/plain", {"hub.challenge": params["hub.challenge"]}),
            "http://missing/": (404, "application/json", {}),
        }[url]
        return reply[0], reply[1], msgspec.json.encode(reply[2])


class Client:
    """A world at noon UTC with one athlete, and an in-process client for it."""

    def __init__(self, limits: Limits | None = None, behaviour: Behaviour | None = None) -> None:
        self.now = NOON
        self.slept: list[float] = []
        self.world = World(5, lambda: self.now, limits, behaviour=behaviour)
        self.athlete = self.world.add_athlete(120)
        self.app = create_app(self.world, Sender(self.world, FakeWire(), self.sleep))
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


def consent(**changes: str) -> str:
    params = {
        "client_id": "12345", "redirect_uri": BACK, "response_type": "code", "state": "s1",
        "scope": "read,activity:read,activity:read_all",
    } | changes  # fmt: skip
    return f"/oauth/authorize?{urlencode(params)}"


async def test_consent_redirects_back_with_code_state_and_granted_scope() -> None:
    client = Client()
    page = await client.call("GET", consent())
    assert page.status == 200
    assert page.body.count(b'type="checkbox"') == 3
    url = consent(sandbox_athlete=str(client.athlete.id), sandbox_scope="read,activity:read")
    back = parse_qs(urlsplit((await client.call("GET", url)).headers["location"]).query)
    assert (back["state"], back["scope"]) == (["s1"], ["read,activity:read"])
    pair = await client.token_call(grant_type="authorization_code", code=back["code"][0])
    assert pair.json["athlete"]["id"] == client.athlete.id
    assert pair.json["expires_in"] == 21600
    assert not [name for name in pair.headers if "ratelimit" in name]
    reused = await client.token_call(grant_type="authorization_code", code=back["code"][0])
    assert error(reused) == (400, "AuthorizationCode", "code", "invalid")


async def test_an_athlete_can_grant_fewer_scopes_or_cancel() -> None:
    client = Client()
    body = dict(parse_qs(urlsplit(consent()).query))
    fields = [(k, v[0]) for k, v in body.items()]
    ticked = [*fields, ("athlete_id", str(client.athlete.id)), ("grant", "read"), ("decision", "authorize")]
    authorized = await client.call("POST", "/oauth/authorize", urlencode(ticked).encode())
    assert parse_qs(urlsplit(authorized.headers["location"]).query)["scope"] == ["read"]
    cancelled = await client.call(
        "POST", "/oauth/authorize", urlencode([*fields, ("decision", "cancel")]).encode()
    )
    assert parse_qs(urlsplit(cancelled.headers["location"]).query)["error"] == ["access_denied"]


async def test_redirects_to_other_hosts_and_unknown_clients_are_refused() -> None:
    client = Client()
    assert error(await client.call("GET", consent(redirect_uri="https://evil.example/")))[2] == "redirect_uri"
    assert error(await client.call("GET", consent(client_id="1")))[2] == "client_id"
    wrong = await client.post(
        "/oauth/token", client_id="12345", client_secret="x", grant_type="refresh_token"
    )
    assert error(wrong)[2] == "client_secret"


async def test_a_refresh_returns_the_same_tokens_while_more_than_an_hour_is_left(client: Client) -> None:
    first = client.world.grants.live[client.athlete.id].refresh_token
    same = (await client.token_call(grant_type="refresh_token", refresh_token=first)).json
    assert (same["access_token"], same["refresh_token"]) == (client.token, first)
    client.now += 5 * 3600 + 1
    fresh = (await client.token_call(grant_type="refresh_token", refresh_token=first)).json
    assert fresh["access_token"] != client.token
    assert fresh["refresh_token"] != first
    dead = await client.token_call(grant_type="refresh_token", refresh_token=first)
    assert error(dead) == (400, "RefreshToken", "refresh_token", "invalid")
    assert client.world.grants.stale_token_uses == {first: 1}


async def test_an_expired_access_token_gets_401(client: Client) -> None:
    client.now += 21600
    assert error(await client.get("/athlete")) == (401, "Athlete", "access_token", "invalid")


async def test_revoking_either_token_ends_both_and_sends_a_deauthorisation_event(client: Client) -> None:
    basic = "Basic " + base64.b64encode(b"12345:sandbox-secret").decode()
    grant = client.world.grants.live[client.athlete.id]
    for _ in range(2):
        form = urlencode({"token": grant.refresh_token}).encode()
        assert (await client.call("POST", "/oauth/revoke", form, authorization=basic)).status == 200
    assert (await client.get("/athlete")).status == 401
    [(_, event)] = client.world.journal.events
    assert (event.object_type, event.aspect_type) == ("athlete", "update")
    assert event.updates == {"authorized": "false"}


async def test_deauthorize_counts_against_the_rate_limits(client: Client) -> None:
    answer = await client.post("/oauth/deauthorize")
    assert answer.json == {"access_token": client.token}
    assert answer.headers["x-readratelimit-usage"] == "1,1"


@pytest.mark.parametrize("where", ["consent", "exchange"])
async def test_without_a_free_seat_no_athlete_can_connect(where: Any) -> None:
    client = Client(behaviour=Behaviour(seats=0, seats_checked=where))
    answer = await client.call("GET", consent(sandbox_athlete=str(client.athlete.id)))
    if where == "exchange":
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        answer = await client.token_call(grant_type="authorization_code", code=code)
    assert answer.status == 403
    assert b"Error 403: Limit of connected athletes exceeded" in answer.body
    assert not client.world.grants.live


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://nowhere/", "not verifiable"),
        ("http://missing/", "GET to callback URL does not return 200"),
        ("http://wrong/", "does not match hub.challenge"),
        ("http://text/", "does not match hub.challenge"),
    ],
)
async def test_a_subscription_needs_a_working_callback(client: Client, url: str, code: str) -> None:
    credentials = {"client_id": "12345", "client_secret": "sandbox-secret", "verify_token": "v"}
    refused = await client.post("/api/v3/push_subscriptions", callback_url=url, **credentials)
    assert error(refused) == (400, "PushSubscription", "callback url", code)


async def test_there_is_at_most_one_subscription_and_its_calls_do_not_count(client: Client) -> None:
    credentials = {"client_id": "12345", "client_secret": "sandbox-secret"}
    created = await client.post(
        "/api/v3/push_subscriptions", callback_url="http://good/", verify_token="v", **credentials
    )
    assert created.status == 201
    assert created.headers["x-ratelimit-usage"] == "0,0"
    second = await client.post(
        "/api/v3/push_subscriptions", callback_url="http://good/", verify_token="v", **credentials
    )
    assert error(second) == (400, "PushSubscription", "", "already exists")
    listed = await client.get(f"/push_subscriptions?{urlencode(credentials)}")
    assert [row["id"] for row in listed.json] == [created.json["id"]]
    path = f"/api/v3/push_subscriptions/{created.json['id']}?{urlencode(credentials)}"
    assert (await client.call("DELETE", path)).status == 204
    assert (await client.get(f"/push_subscriptions?{urlencode(credentials)}")).json == []


def multipart(**fields: str) -> tuple[bytes, str]:
    """Return a body as `curl -F` makes it, and its content type."""
    mark = "------------------------d74496d66958873e"
    parts = "".join(
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return f"{parts}--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


async def send_multipart(client: Client, path: str, **fields: str) -> Answer:
    body, kind = multipart(**fields)
    return await request(client.app, "POST", path, body, {"content-type": kind})


async def test_multipart_forms_work_as_strava_documents_them(client: Client) -> None:
    application = {"client_id": "12345", "client_secret": "sandbox-secret"}
    grant = client.world.grants.live[client.athlete.id]
    pair = await send_multipart(
        client, "/oauth/token", **application, grant_type="refresh_token", refresh_token=grant.refresh_token
    )
    assert pair.json["access_token"] == client.token
    created = await send_multipart(
        client, "/api/v3/push_subscriptions", **application,
        callback_url="http://good/", verify_token="Ünïcode & = \r\n two lines",
    )  # fmt: skip
    assert created.status == 201
    assert client.world.subscription.callback_url == "http://good/"
    ended = await send_multipart(client, "/oauth/deauthorize", access_token=client.token)
    assert ended.json == {"access_token": client.token}
    assert client.world.grants.live == {}


@pytest.mark.parametrize("body", [b"", b"junk", b"--x", b"--x\r\n\r\n--x--", b"\xff" * 99])
async def test_a_broken_multipart_form_has_no_fields(client: Client, body: bytes) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert error(await request(client.app, "POST", "/oauth/token", body, kind))[2] == "client_id"
    kind = {"content-type": "multipart/form-data"}
    assert error(await request(client.app, "POST", "/oauth/token", body, kind))[2] == "client_id"


async def test_until_june_2027_the_token_may_be_a_parameter(client: Client) -> None:
    token, client.token = client.token, ""
    assert (await client.get(f"/athlete?access_token={token}")).json["id"] == client.athlete.id
    assert (await client.get("/athlete/activities?access_token=wrong")).status == 401
    client.now = 1_811_807_999.0
    grant = client.world.connect(client.athlete.id, ["read"])
    url = f"/athlete?access_token={grant.access_token}"
    assert (await client.get(url)).status == 200
    client.now += 1
    assert error(await client.get(url))[0] == 401
    client.token = grant.access_token
    assert (await client.get("/athlete")).status == 200
    assert (await client.post("/oauth/deauthorize")).status == 404
