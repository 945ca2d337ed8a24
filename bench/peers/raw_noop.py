"""The floor of HTTP: a raw ASGI application that reads the body and stores nothing."""

from __future__ import annotations

from typing import Any

ANSWER = b'{"status":"accepted"}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"21")],
}
END = {"type": "http.response.body", "body": ANSWER}


async def body(receive: Any) -> bytes:
    """Return the body of a request."""
    message = await receive()
    data: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        data += message["body"]
    return data


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await body(receive)
        await send(START)
        await send(END)
