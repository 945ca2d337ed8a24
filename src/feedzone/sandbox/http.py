"""The sandbox's own small HTTP layer: requests, responses and Strava's error bodies.

A framework would cost more per request than the sandbox itself, and simulations make hundreds of thousands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"


@dataclass(slots=True)
class Request:
    """One request; `parts` are the segments of its path."""

    method: str
    path: str
    parts: list[str]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        """The form in the body."""
        return dict(self.form_pairs())

    def form_pairs(self) -> list[tuple[str, str]]:
        """The form in the body, repeated fields kept."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def params(self) -> dict[str, str]:
        """Query and form together; Strava takes most parameters either way."""
        return {**self.query, **self.form()}

    def json(self) -> dict[str, Any]:
        """The JSON object in the body, empty when there is none. ValueError when it is anything else."""
        try:
            value = msgspec.json.decode(self.body) if self.body else {}
        except msgspec.DecodeError as error:
            raise ValueError(f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")
        return value


@dataclass(slots=True)
class Response:
    """One answer; header names in lower case."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: list[tuple[str, str]] = field(default_factory=list)


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status, msgspec.json.encode(value))


def page(html: str, status: int = 200) -> Response:
    """An HTML answer."""
    return Response(status, html.encode(), HTML)


def redirect(url: str, status: int = 302) -> Response:
    """Go there."""
    return Response(status, b"", HTML, [("location", url)])


def fault(status: int, message: str, resource: str, where: str, code: str) -> Response:
    """Strava's error body (contract section 10)."""
    return answer(
        {"message": message, "errors": [{"resource": resource, "field": where, "code": code}]}, status
    )


def bad_request(resource: str, where: str, code: str = "invalid") -> Response:
    """400 with Strava's body."""
    return fault(400, "Bad Request", resource, where, code)


def not_found(resource: str) -> Response:
    """404 with Strava's body."""
    return fault(404, "Resource Not Found", resource, "", "not found")


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Collect a request from ASGI."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path: str = scope["path"]
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], path, [p for p in path.split("/") if p], query, headers, body)


async def send_response(response: Response, send: Send) -> None:
    """Hand a response to ASGI."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
    if response.status != 204:
        headers.append((b"content-type", response.content_type.encode()))
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
