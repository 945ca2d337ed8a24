"""feedzone under a path of its host, behind nginx: APP_URL=https://host/feedzone."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from browsing import csrf_token
from web_world import PASSWORD, RIDE, World, web_world

from feedzone.ingest.inbox import Inbox
from feedzone.ingest.webhook import Webhook, WebhookOptions
from feedzone.store.engine.database import Database
from feedzone.telemetry import Metrics
from feedzone.web.base_path import sending_within, without
from feedzone.web.server import FrontDoor, Server, bind
from feedzone.worker.wakeup import LocalWakeup
from processes import free_port

PATH = "/api/webhooks/strava"
ADDRESSES = re.compile(r'\b(?:href|src|action|hx-get|hx-post|data-live|data-curves)="([^"]*)"')
FETCHED = re.compile(r'<(?:a|link|script|img)\b[^>]*?\b(?:href|src)="(/[^"#]*)')
CONFIG = """
worker_processes 1; daemon off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{outside};
    location /feedzone/ {{
      proxy_pass http://127.0.0.1:{inside}{strip};
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_http_version 1.1; proxy_buffering off;
    }}
    location / {{ return 418; }}
  }}
}}
"""


@contextlib.asynccontextmanager
async def nginx(folder: Path, inside: int, strip: str) -> AsyncIterator[str]:
    """Run nginx; return the address of its server. `strip`: a slash removes the path from requests."""
    outside = free_port()
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, outside=outside, inside=inside, strip=strip))
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert binary is not None
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(config)])
    try:
        async with httpx.AsyncClient() as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.get(f"http://127.0.0.1:{outside}/")
                    break
                assert process.poll() is None
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{outside}"
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def world_at(database: Database, listener_port: int, app_url: str) -> AsyncIterator[World]:
    async with web_world(database, app_url=app_url, is_local=False, admin_password=PASSWORD) as world:
        inbox = Inbox(world.database, world.clock, LocalWakeup())
        webhook = Webhook(inbox, WebhookOptions(PATH, "verify", "observe", []), Metrics(), world.clock)
        door = FrontDoor(webhook, world.site, base_path=world.parts.options.base_path)
        listener = bind("127.0.0.1", listener_port)
        running = Server(door)
        task = asyncio.create_task(running.serve(sockets=[listener]))
        while not running.started:
            await asyncio.sleep(0.01)
        yield world
        world.site.state.live.close()
        running.should_exit = True
        await task


needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None,
    reason="nginx is missing (Debian: apt-get install nginx-light)",
)


@needs_nginx
@pytest.mark.parametrize("strip", ["", "/"], ids=["nginx keeps the path", "nginx removes the path"])
async def test_all_of_it_works_under_a_path_behind_nginx(
    sqlite_database: Database, tmp_path: Path, strip: str
) -> None:
    inside = free_port()
    async with (
        nginx(tmp_path, inside, strip) as outside,
        world_at(sqlite_database, inside, f"{outside}/feedzone") as world,
        httpx.AsyncClient(base_url=f"{outside}/feedzone/", timeout=60) as browser,
    ):
        await _athlete_connects(world, outside)
        await world.store(RIDE)
        await world.store_streams(RIDE)
        sent_away = await browser.get("athletes")
        assert sent_away.headers["location"] == "/feedzone/login?next=%2Fathletes"
        answer = await _sign_in(browser)
        assert answer.headers["location"] == "/feedzone/athletes"
        assert all("Path=/feedzone;" in f"{cookie};" for cookie in answer.headers.get_list("set-cookie"))
        await _every_link_works(browser)
        form = {"_csrf_token": csrf_token(browser), "back": "/athletes/42"}
        acted = await browser.post("actions/athletes/42/verify", data=form)
        assert acted.headers["location"] == "/feedzone/athletes/42"
        assert "queued" in (await browser.get(f"{outside}{acted.headers['location']}")).text
        await _webhook_and_live_updates(browser)


async def _sign_in(browser: httpx.AsyncClient) -> httpx.Response:
    page = await browser.get("login", params={"next": "/athletes"})
    token = re.search(r'name="_csrf_token" value="([^"]+)"', page.text)
    assert token is not None
    form = {"_csrf_token": token[1], "password": PASSWORD, "next": "/athletes"}
    answer = await browser.post("login", data=form)
    await browser.get("login")
    return answer


async def _athlete_connects(world: World, outside: str) -> None:
    async with httpx.AsyncClient(base_url=f"{outside}/feedzone/", timeout=60) as browser:
        leaving = parse_qs(urlsplit((await browser.get("connect")).headers["location"]).query)
        assert leaving["to"] == [f"{outside}/feedzone/connect/callback"]
        back = {"state": leaving["state"][0], "code": "c", "scope": "read,activity:read_all"}
        answer = await browser.get(leaving["to"][0], params=back)
        assert answer.headers["location"].startswith("/feedzone/connect/done?")
        own = await browser.get("me")
        assert own.status_code == 200, own.headers


async def _every_link_works(browser: httpx.AsyncClient) -> None:
    """Follow all links from the overview on: each stays under the path, and exists."""
    todo, seen = ["/feedzone/", f"/feedzone/activities/{RIDE}"], set()
    while todo:
        path = todo.pop()
        if path in seen or len(seen) > 80:
            continue
        seen.add(path)
        page = await browser.get(f"http://{browser.base_url.netloc.decode()}{path}")
        assert page.status_code in (200, 303), path
        if not page.headers["content-type"].startswith("text/html"):
            continue
        for address in ADDRESSES.findall(page.text):
            assert not address.startswith("/") or address.startswith("/feedzone/"), (path, address)
        todo += [each.replace("&amp;", "&") for each in FETCHED.findall(page.text) if "logout" not in each]
    assert len(seen) > 10


async def _webhook_and_live_updates(browser: httpx.AsyncClient) -> None:
    event = (
        b'{"object_type":"activity","object_id":1,"aspect_type":"create","owner_id":42,'
        b'"subscription_id":1,"event_time":1700000000,"updates":{}}'
    )
    headers = {"content-type": "application/json"}
    assert (await browser.post("api/webhooks/strava", content=event, headers=headers)).status_code == 200
    page = (await browser.get("")).text
    live = re.search(r'data-live="([^"]+)"', page)
    assert live is not None
    async with browser.stream("GET", f"http://{browser.base_url.netloc.decode()}{live[1]}") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")


async def test_cookies_under_a_path_of_an_https_host_are_valid(sqlite_database: Database) -> None:
    """Browsers refuse a cookie with the prefix `__Host-` and a path."""
    async with web_world(
        sqlite_database, app_url="https://host.test/feedzone", is_local=False, admin_password=PASSWORD
    ) as world:
        transport = httpx.ASGITransport(
            FrontDoor(None, world.site, is_https=True, base_path="/feedzone"),  # type: ignore[arg-type]
            raise_app_exceptions=False,
        )
        async with httpx.AsyncClient(transport=transport, base_url="https://host.test/feedzone") as browser:
            page = await browser.get("/login")
            for cookie in page.headers.get_list("set-cookie"):
                assert cookie.startswith("__Secure-")
                assert "Path=/feedzone" in cookie
            document = await browser.get("/docs/openapi.json")
            assert document.json()["servers"] == [{"url": "/feedzone"}]


@pytest.mark.parametrize(
    ("path", "inner"),
    [
        ("/feedzone", "/"),
        ("/feedzone/", "/"),
        ("/feedzone/me", "/me"),
        ("/me", "/me"),
        ("/feedzones", "/feedzones"),
    ],
)
def test_a_request_is_read_as_if_at_the_root(path: str, inner: str) -> None:
    assert without("/feedzone", {"path": path})["path"] == inner


async def test_text_of_others_is_not_rewritten() -> None:
    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    sending = sending_within("/x", send)
    html = b'<a href="/a" title="/b">href=&#34;/c</a> <a href="//d"> <a href="https://e/"> <i data-x="/f">'
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(html))]
    await sending({"type": "http.response.start", "status": 200, "headers": headers})
    await sending({"type": "http.response.body", "body": html[:9], "more_body": True})
    await sending({"type": "http.response.body", "body": html[9:]})
    start, body = sent
    assert body["body"] == html.replace(b'href="/a"', b'href="/x/a"')
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
