"""Read bodies and send refusals in plain ASGI, without a web framework."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

Receive = Any
Send = Any

CLOSING = (408, 413)
"""After these the rest of the body may still arrive, so the connection cannot carry another request."""


class Refusal(Exception):
    """Ends a request with a problem document."""

    def __init__(self, status: int, detail: str, *, retry_s: int = 0) -> None:
        """`retry_s`: when the client may try again; 0: the answer does not say."""
        self.status = status
        self.detail = detail
        self.retry_s = retry_s
        super().__init__(detail)


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int, seconds: float) -> bytes:
    """Return the body. Raises Refusal if it has more than `limit` bytes or arrives too slowly."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "the connection broke off")
                body += message.get("body", b"")
                if len(body) > limit:
                    raise _too_large(limit)
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {seconds:g} s") from None


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"takes at most {limit} bytes")


def problem_of(refusal: Refusal) -> bytes:
    """Return the body of a refusal (RFC 9457)."""
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "title": HTTPStatus(refusal.status).phrase,
            "status": refusal.status,
            "detail": refusal.detail,
        }
    )


async def send_answer(
    send: Send, status: int, body: bytes, more_headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a JSON body, or a problem document for every status but 200."""
    kind = b"application/json" if status == 200 else b"application/problem+json"
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more_headers,
    ]
    if status in CLOSING:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, refusal: Refusal, more_headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send the problem document of a refusal."""
    await send_answer(send, refusal.status, problem_of(refusal), more_headers)
