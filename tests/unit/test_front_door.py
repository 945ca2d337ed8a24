"""The front door: bounded requests, bodies only where they belong, and the headers of every response."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from feedzone.errors import CallOverdue, InvalidInput, NotFound, StorageUnavailable
from feedzone.web import server
from feedzone.web.parsing import parse_instant
from feedzone.web.problems import STATUS_OF
from feedzone.web.server import FrontDoor, Server, security_headers


class NoWebhook:
    def answers(self, _path: str) -> bool:
        return False


async def site(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(door: FrontDoor, method: str = "GET", body: bytes = b"") -> tuple[int, dict[bytes, bytes]]:
    """Send a request; return the status and the headers of the response."""
    sent: list[Any] = []
    headers = [(b"content-length", str(len(body)).encode())] if body else []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await door({"type": "http", "method": method, "path": "/", "headers": headers}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


async def test_requests_that_have_ended_leave_room_for_others(monkeypatch):
    monkeypatch.setattr(server, "SITE_REQUESTS", 2)
    door = FrontDoor(NoWebhook(), site)
    assert [(await ask(door))[0] for _ in range(9)] == [200] * 9
    door._running = 2
    status, headers = await ask(door)
    assert (status, headers[b"retry-after"]) == (503, b"5")


@pytest.mark.parametrize(
    ("method", "size", "status"), [("GET", 1, 413), ("HEAD", 1, 413), ("POST", 1, 200), ("POST", 70_000, 413)]
)
async def test_only_forms_have_a_body_and_within_their_limit(method, size, status):
    assert (await ask(FrontDoor(NoWebhook(), site), method, b"x" * size))[0] == status


@pytest.mark.parametrize("is_https", [True, False])
async def test_every_response_has_the_security_headers(is_https):
    _, headers = await ask(FrontDoor(NoWebhook(), site, is_https=is_https))
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cross-origin-opener-policy"] == b"same-origin"
    assert (b"strict-transport-security" in headers) is is_https
    assert dict(security_headers(is_https=is_https)).items() <= headers.items()


def test_only_trusted_proxies_name_the_address_of_a_client():
    assert Server(site, ("10.0.0.5",)).config.forwarded_allow_ips == ["10.0.0.5"]
    assert Server(site).config.forwarded_allow_ips == []


@pytest.mark.parametrize(
    ("problem", "status"),
    [(NotFound("x"), 404), (InvalidInput("x"), 400), (StorageUnavailable("x"), 503), (CallOverdue("x"), 502)],
)
def test_an_expected_problem_has_a_status_of_its_own(problem, status):
    assert next(number for kind, number in STATUS_OF if isinstance(problem, kind)) == status


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01T08:00:00Z",
        "2026-11-01T08:00:00",
        "2026-11-01T09:00:00+01:00",
        "2026-11-01T09:00:00 01:00",
        "1793520000",
        "1793520000.0",
    ],
)
def test_an_instant_is_read_in_every_usual_form(text):
    assert parse_instant(text, "after") == datetime(2026, 11, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "1e99", "999999999999", "0001-01-01T00:00:00Z"])
def test_an_impossible_instant_is_refused_with_its_parameter(text):
    with pytest.raises(InvalidInput, match="after"):
        parse_instant(text, "after")
