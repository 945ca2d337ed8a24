"""stravalib, an independent client, can use the sandbox over HTTP as if it were Strava."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from aiohttp import web
from requests.adapters import HTTPAdapter
from stravalib import Client, exc

from feedzone.sandbox import RunningSandbox, SandboxOptions, running


class PlainHttp(HTTPAdapter):
    """An adapter that turns https into http: stravalib insists on https, the sandbox serves http."""

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        assert request.url is not None
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, *args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    async with running(SandboxOptions(port=0, athletes=2, history_days=60, seed=11)) as server:
        yield server


@pytest.fixture
def client(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("SILENCE_TOKEN_WARNINGS", "true")
    session = requests.Session()
    session.mount("https://", PlainHttp())
    new_client = Client(requests_session=session, rate_limit_requests=False)
    new_client.protocol.server = urlsplit(sandbox.url).netloc
    return new_client


def log_in(client: Client, sandbox: RunningSandbox) -> int:
    """Consent and exchange the code as a browser and stravalib do; return the athlete's id."""
    athlete_id = next(iter(sandbox.world.athletes))
    url = client.authorization_url(
        client_id=12345,
        redirect_uri="http://localhost/back",
        scope=["read", "profile:read_all", "activity:read", "activity:read_all"],
    )
    consent = f"{url}&sandbox_athlete={athlete_id}".replace("https://", "http://", 1)
    back = requests.get(consent, allow_redirects=False, timeout=5).headers["location"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    client.exchange_code_for_token(client_id=12345, client_secret="sandbox-secret", code=code)
    return athlete_id


async def test_stravalib_logs_in_and_reads_activities_details_and_streams(
    client: Client, sandbox: RunningSandbox
) -> None:
    def use_client() -> None:
        athlete_id = log_in(client, sandbox)
        athlete = client.get_athlete()
        assert athlete.id == athlete_id
        assert athlete.bikes
        rows = list(client.get_activities())
        assert [row.id for row in rows] == [row["id"] for row in sandbox.world.truth(athlete_id)]
        for row in rows:
            detail = client.get_activity(row.id)
            assert (detail.name, detail.distance) == (row.name, row.distance)
            assert list(client.get_activity_laps(row.id)) or row.manual
        outdoors = next(row for row in rows if row.start_latlng)
        streams = client.get_activity_streams(outdoors.id, types=["time", "latlng", "heartrate"])
        assert len(streams["latlng"].data) == len(streams["time"].data) == streams["time"].original_size
        assert streams["distance"].data[-1] == outdoors.distance

    await asyncio.to_thread(use_client)


async def test_stravalib_recognises_the_sandboxes_errors(client: Client, sandbox: RunningSandbox) -> None:
    def use_client() -> None:
        log_in(client, sandbox)
        with pytest.raises(exc.ObjectNotFound):
            client.get_activity(1)
        sandbox.world.faults.inactive = True
        with pytest.raises(exc.ApplicationInactive):
            client.get_athlete()
        sandbox.world.faults.inactive = False
        client.deauthorize()
        with pytest.raises(exc.AccessUnauthorized):
            client.get_athlete()

    await asyncio.to_thread(use_client)


async def test_stravalib_subscribes_receives_an_event_and_unsubscribes(
    client: Client, sandbox: RunningSandbox, callback: Callback
) -> None:
    def subscribe() -> int:
        subscription = client.create_subscription(12345, "sandbox-secret", callback.url, "our-token")
        assert [s.id for s in client.list_subscriptions(12345, "sandbox-secret")] == [subscription.id]
        assert subscription.id is not None
        return subscription.id

    number = await asyncio.to_thread(subscribe)
    assert callback.verify_tokens == ["our-token"]
    await asyncio.to_thread(log_in, client, sandbox)
    spec = sandbox.world.record(next(iter(sandbox.world.athletes)))
    event = await asyncio.wait_for(callback.events.get(), 5)
    update = client.handle_subscription_update(event)
    assert (update.object_id, update.aspect_type, update.subscription_id) == (spec.id, "create", number)
    await asyncio.to_thread(client.delete_subscription, number, 12345, "sandbox-secret")
    assert sandbox.world.subscription is None


async def test_a_dropped_connection_reaches_the_client_as_a_network_error(sandbox: RunningSandbox) -> None:
    sandbox.world.faults.change({"timeout_after": 1.0})
    url = f"{sandbox.url}/api/v3/push_subscriptions"
    with pytest.raises(requests.exceptions.RequestException):
        await asyncio.to_thread(requests.get, url, timeout=5)


class Callback:
    """A tiny webhook receiver."""

    def __init__(self) -> None:
        self.url = ""
        self.verify_tokens: list[str] = []
        self.events: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def handshake(self, request: web.Request) -> web.Response:
        self.verify_tokens.append(request.query["hub.verify_token"])
        return web.json_response({"hub.challenge": request.query["hub.challenge"]})

    async def receive(self, request: web.Request) -> web.Response:
        await self.events.put(await request.json())
        return web.Response()


@pytest.fixture
async def callback() -> AsyncIterator[Callback]:
    receiver = Callback()
    app = web.Application()
    app.add_routes([web.get("/hook", receiver.handshake), web.post("/hook", receiver.receive)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()
