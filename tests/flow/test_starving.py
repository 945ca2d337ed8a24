"""No request of a stranger starves the process: limits of bodies, heads, deadlines and connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from web_world import World

from feedzone.ingest.inbox import Inbox
from feedzone.ingest.webhook import Webhook, WebhookOptions
from feedzone.telemetry import Metrics
from feedzone.web import connections, server
from feedzone.web.server import FrontDoor, Server, bind, security_headers
from feedzone.worker.wakeup import LocalWakeup

PATH = "/api/webhooks/strava"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
MOST_MEMORY_KB = 600 * 1024
"""Of this process, which also plays the strangers: each holds a form of 10 MB several times."""

SLOWEST_S = 2.0
"""Strava waits this long for an answer. bench/starving.py measures what an idle machine needs."""


@dataclass
class Served:
    """A server on a real port."""

    port: int
    server: Server

    async def talk(self, *pieces: bytes, pause_s: float = 0.0) -> bytes:
        """Send the pieces, and return everything that the server sends until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                answer += piece
        writer.close()
        return answer

    async def idle(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def deliver(self, number: int) -> float:
        """Post an event over a new connection; return the seconds until its answer."""
        event = {
            "object_type": "activity",
            "object_id": number,
            "aspect_type": "create",
            "owner_id": 1,
            "subscription_id": 1,
            "event_time": 1_700_000_000 + number,
            "updates": {},
        }
        body = json.dumps(event).encode()
        start = time.perf_counter()
        answer = await self.talk(request("POST", PATH, body, "Content-Type: application/json\r\n"))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return time.perf_counter() - start


def request(method: str, path: str, body: bytes = b"", headers: str = "", length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    line = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    head = f"{line}Content-Length: {length}\r\n{headers}\r\n"
    return head.encode() + body


@pytest.fixture
async def served(public: World) -> AsyncIterator[Served]:
    inbox = Inbox(public.database, public.clock, LocalWakeup())
    webhook = Webhook(inbox, WebhookOptions(PATH, "verify", "observe", []), Metrics(), public.clock)
    listener = bind("127.0.0.1", 0)
    running = Server(FrontDoor(webhook, public.site, is_https=True))
    task = asyncio.create_task(running.serve(sockets=[listener]))
    while not running.started:
        await asyncio.sleep(0.01)
    yield Served(listener.getsockname()[1], running)
    running.should_exit = True
    await task


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/login"), ("GET", "/join"), ("POST", "/no/such/page")]
)
async def test_a_form_of_ten_megabytes_is_refused_before_it_is_read(
    served: Served, method: str, path: str
) -> None:
    start = time.process_time()
    answer = await served.talk(request(method, path, b"", FORM, length=10_000_000))
    assert answer.startswith(b"HTTP/1.1 413"), answer
    assert time.process_time() - start < 1


async def test_a_form_without_an_announced_length_is_cut_off(served: Served) -> None:
    head = f"POST /login HTTP/1.1\r\nHost: a\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n".encode()
    piece = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    assert (await served.talk(head, *[piece] * 5)).startswith(b"HTTP/1.1 413")


async def test_a_body_that_arrives_byte_by_byte_has_a_deadline(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SITE_BODY_WITHIN_S", 0.2)
    answer = await served.talk(request("POST", "/login", b"passw", FORM, length=20))
    assert answer.startswith(b"HTTP/1.1 408")


async def test_headers_have_a_limit_and_a_deadline(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    line = b"GET / HTTP/1.1\r\n"
    assert (await served.talk(line + b"X-A: " + b"a" * 70_000)).startswith(b"HTTP/1.1 431")
    assert (await served.talk(line, *[b"X-A: " + b"a" * 1000 + b"\r\n"] * 66)).startswith(b"HTTP/1.1 431")
    assert (await served.talk(line + b"A: b\r\n" * 300)).startswith(b"HTTP/1.1 431")
    assert (await served.talk(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 414")
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.2)
    assert (await served.talk(line, b"X-A: a\r\n", b"X-B: b\r\n", pause_s=0.15)).startswith(b"HTTP/1.1 408")
    assert await served.talk() == b""


async def test_the_oldest_idle_connection_makes_room_for_a_new_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 5)
    idle = [await served.idle() for _ in range(5)]
    await asyncio.sleep(0.05)
    await served.deliver(1)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(idle[0][0].read(1), 2) == b""
    assert len(served.server.server_state.connections) <= 5
    for _, writer in idle:
        writer.close()


async def test_some_requests_are_kept_for_the_webhook(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SITE_REQUESTS", 2)
    slow = [await served.idle() for _ in range(2)]
    for _, writer in slow:
        writer.write(request("POST", "/login", b"pass", FORM, length=20))
    await asyncio.sleep(0.1)
    assert (await served.talk(request("GET", "/healthz"))).startswith(b"HTTP/1.1 503")
    assert await served.deliver(1) < SLOWEST_S
    for _, writer in slow:
        writer.close()


async def test_strangers_delay_no_delivery(served: Served) -> None:
    """Forms of 10 MB, 64 KB of headers, slow bodies and 500 idle connections at the same time."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = b"password=" + b"&a=1" * 2_500_000
    idle = [await served.idle() for _ in range(500)]
    slow = [await served.idle() for _ in range(20)]
    for _, writer in slow:
        writer.write(request("POST", "/login", b"pass", FORM, length=20))

    async def attack() -> None:
        while True:
            await served.talk(request("POST", "/login", large, FORM))
            await served.talk(request("GET", "/join", large, FORM))
            await served.talk(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 70_000)
            await served.talk(request("POST", "/login", large[:65_000], FORM))

    attackers = [asyncio.create_task(attack()) for _ in range(3)]
    waits = []
    for number in range(20):
        waits.append(await served.deliver(number))
        await asyncio.sleep(0.02)
    for attacker in attackers:
        attacker.cancel()
    for _, writer in (*idle, *slow):
        writer.close()
    assert max(waits) < SLOWEST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY_KB


@pytest.mark.parametrize(
    ("trusted", "address"), [(["127.0.0.1"], "192.0.2.7"), (["10.0.0.0/8"], "127.0.0.1"), ([], "127.0.0.1")]
)
async def test_only_a_trusted_proxy_names_the_address_of_a_client(trusted: list[str], address: str) -> None:
    async def echo(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["client"][0].encode()})

    listener = bind("127.0.0.1", 0)
    running = Server(echo, trusted)
    running.config.lifespan = "off"
    task = asyncio.create_task(running.serve(sockets=[listener]))
    while not running.started:
        await asyncio.sleep(0.01)
    headers = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7"}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert answer.text == address
    running.should_exit = True
    await task


async def test_every_answer_carries_the_security_headers(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        page = (await client.get("/login")).text
        static = re.search(r"/static/[^\"]+", page).group()
        for path in ("/login", "/healthz", "/no/such/page", "/api/v1/status", static, PATH):
            headers = (await client.get(path)).headers
            for name, value in security_headers(is_https=True):
                assert headers[name.decode()] == value.decode(), path
                assert len(headers.get_list(name.decode())) == 1
    broken = (await served.talk(b"not HTTP at all\r\n\r\n")).lower()
    for name, _ in security_headers(is_https=True):
        assert name + b": " in broken
