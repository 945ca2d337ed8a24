"""The HTTP server: webhook, pages and API on uvicorn, in our own event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn

from ..errors import SettingsError
from ..ingest.plain_http import Refusal, read_body, refuse
from ..ingest.webhook import Webhook, not_found
from .base_path import mounted_at, sending_within, without
from .connections import Connection

WEBHOOK_PREFIX = "/api/webhooks/strava"


SITE_BODY_LIMIT = 64 * 1024
"""Bytes. The largest form of the pages has a few hundred."""

SITE_BODY_WITHIN_S = 10.0

SITE_REQUESTS = 384
"""Requests to pages and API at the same time. The other connections are kept for the webhook."""


class FrontDoor:
    """The outermost ASGI application: sends webhook paths past the web framework, all others to it.

    It reads each body before the framework does: the framework would parse megabytes on the event loop
    before any of its guards runs.
    """

    def __init__(self, webhook: Webhook, site: Any, *, is_https: bool = False, base_path: str = "") -> None:
        """`base_path`: the path of APP_URL, without a slash at its end."""
        self._webhook = webhook
        self.site = site
        self.headers = security_headers(is_https=is_https)
        self._base_path = base_path
        self._running = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.site(scope, receive, send)
            return

        if prefix := mounted_at(scope) or self._base_path:
            scope, send = without(prefix, scope), sending_within(prefix, send)

        async def protected(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
            await send(message)

        if not scope["path"].startswith(WEBHOOK_PREFIX):
            await self._visit(scope, receive, protected)
        elif self._webhook.answers(scope["path"]):
            await self._webhook(scope, receive, protected)
        else:
            await not_found(protected)

    async def _visit(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request to the site with its complete body."""
        if self._running >= SITE_REQUESTS:
            busy = Refusal(503, "too many requests at the same time; try again")
            await refuse(send, busy, [(b"retry-after", b"5"), (b"connection", b"close")])
            return
        self._running += 1
        try:
            if _has_body(scope):
                limit = 0 if scope["method"] in ("GET", "HEAD") else SITE_BODY_LIMIT
                body = await read_body(dict(scope["headers"]), receive, limit, SITE_BODY_WITHIN_S)
                receive = _replay(body, receive)
            await self.site(scope, receive, send)
        except Refusal as refusal:
            await refuse(send, refusal)
        finally:
            self._running -= 1


def _has_body(scope: Any) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _replay(body: bytes, receive: Any) -> Any:
    """Return a `receive` that gives the body once, and then the messages of the connection."""
    message: dict[str, Any] | None = {"type": "http.request", "body": body, "more_body": False}

    async def next_message() -> Any:
        nonlocal message
        first, message = message, None
        return await receive() if first is None else first

    return next_message


def security_headers(*, is_https: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of every response: pages, API, assets, webhook and errors."""
    headers = [
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ]
    if is_https:
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    return headers


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError with the reason if the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        listener.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {problem.strerror}; try another port") from None
    return listener


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours (app.py) stop the worker in order after the server."""

    def __init__(self, application: Any, trusted_proxies: Sequence[str] = ()) -> None:
        """Take the address of a client from X-Forwarded-For only if a trusted proxy sends the request."""
        super().__init__(
            uvicorn.Config(
                application,
                http=Connection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=75,
                forwarded_allow_ips=list(trusted_proxies),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
