"""The HTTP server: webhook, pages and API on uvicorn, in our own event loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from ..errors import SettingsError
from ..ingest.webhook import Webhook, not_found

WEBHOOK_PREFIX = "/api/webhooks/strava"


class FrontDoor:
    """The outermost ASGI application: sends webhook paths past the web framework, all others to it."""

    def __init__(self, webhook: Webhook, site: Any) -> None:
        self._webhook = webhook
        self.site = site

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(WEBHOOK_PREFIX):
            if self._webhook.answers(scope["path"]):
                await self._webhook(scope, receive, send)
            else:
                await not_found(send)
        else:
            await self.site(scope, receive, send)


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

    def __init__(self, application: Any) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=75,
                forwarded_allow_ips="127.0.0.1,::1",
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
