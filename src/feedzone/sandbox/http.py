"""The sandbox's own small HTTP layer: requests, responses and Strava's error bodies.

Simulations make hundreds of thousands of requests, and a framework would cost more per request than the
sandbox itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
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
    """An HTTP request; `parts` are the segments of its path."""

    method: str
    path: str
    parts: list[str]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        """Return the fields of the form in the body."""
        return dict(self.form_pairs())

    def form_pairs(self) -> list[tuple[str, str]]:
        """Return the fields of the form in the body, including repeated ones.

        Strava documents its calls as `curl -F`, which sends multipart forms.
        """
        if self.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return _multipart_pairs(self.headers["content-type"], self.body)
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def params(self) -> dict[str, str]:
        """Return query and form together; Strava accepts most parameters in either."""
        return {**self.query, **self.form()}

    def json(self) -> dict[str, Any]:
        """Return the JSON object in the body, or {} without a body. Raise ValueError for other bodies."""
        try:
            value = msgspec.json.decode(self.body) if self.body else {}
        except msgspec.DecodeError as error:
            raise ValueError(f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")
        return value


@dataclass(slots=True)
class Response:
    """An HTTP response; header names in lower case."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: list[tuple[str, str]] = field(default_factory=list)


def json_response(value: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(status, msgspec.json.encode(value))


def html_response(html: str, status: int = 200) -> Response:
    """Return an HTML response."""
    return Response(status, html.encode(), HTML)


def redirect(url: str, status: int = 302) -> Response:
    """Return a redirect to this URL."""
    return Response(status, b"", HTML, [("location", url)])


def error_response(status: int, message: str, resource: str, field: str, code: str) -> Response:
    """Return an error with Strava's body (docs/strava-api.md#errors)."""
    return json_response(
        {"message": message, "errors": [{"resource": resource, "field": field, "code": code}]}, status
    )


def bad_request(resource: str, field: str, code: str = "invalid") -> Response:
    """Return 400 with Strava's error body."""
    return error_response(400, "Bad Request", resource, field, code)


def not_found(resource: str) -> Response:
    """Return 404 with Strava's error body."""
    return error_response(404, "Resource Not Found", resource, "", "not found")


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Read a whole request from ASGI."""
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
    """Send a response through ASGI."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
    if response.status != 204:
        headers.append((b"content-type", response.content_type.encode()))
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _multipart_pairs(content_type: str, body: bytes) -> list[tuple[str, str]]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    pairs: list[tuple[str, str]] = []
    for part in message.walk():
        name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            pairs.append((name, value.decode("utf-8", "replace")))
    return pairs
