"""Calls to the sandbox without sockets, for simulations and tests."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .http import AsgiApp


@dataclass(frozen=True, slots=True)
class Answer:
    """The response as a client sees it; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body parsed as JSON."""
        return msgspec.json.decode(self.body)


async def request(app: AsgiApp, method: str, url: str, body: bytes = b"",
                  headers: dict[str, str] | None = None) -> Answer:  # fmt: skip
    """Send one request to the application; scheme and host of the URL are ignored.

    Raise ConnectionDroppedError if a fault breaks the connection.
    """
    split = urlsplit(url)
    scope = {
        "type": "http",
        "method": method,
        "path": split.path,
        "query_string": split.query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    response_headers = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], response_headers, b"".join(m.get("body", b"") for m in sent[1:]))
