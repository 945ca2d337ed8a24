"""Who may see what: pages by password, the API by key, and both compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections import deque
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler

from ..ports import Clock
from .parts import WebOptions

log = structlog.get_logger("feedzone.auth")

Connection = ASGIConnection[Any, Any, Any, Any]

FAILURES = 10
WITHIN = timedelta(minutes=1)
"""After FAILURES wrong passwords WITHIN this time, an address is refused until they are older than that."""

ADDRESSES = 1000
"""How many addresses' failures are remembered."""

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


class Throttle:
    """Counts failures by address, in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, deque[datetime]] = {}

    def wait_s(self, address: str) -> int:
        """Seconds that this address has to wait before it is heard again; 0 when it need not."""
        now, failures = self._clock.now(), self._failures.get(address, deque())
        while failures and failures[0] <= now - WITHIN:
            failures.popleft()
        if len(failures) < FAILURES:
            return 0
        return int((failures[0] + WITHIN - now).total_seconds()) + 1

    def failed(self, address: str) -> None:
        if address not in self._failures and len(self._failures) >= ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures.setdefault(address, deque(maxlen=FAILURES)).append(self._clock.now())


class Access:
    """The guards of one application."""

    def __init__(self, options: WebOptions, clock: Clock) -> None:
        self._options = options
        self._throttle = Throttle(clock)

    def __deepcopy__(self, _: dict[int, Any]) -> Access:
        # Litestar copies guards with each handler, but there is one throttle and one clock.
        return self

    async def api(self, connection: Connection, _: BaseRouteHandler) -> None:
        """Bearer API_KEY, and nothing else."""
        challenge = {"WWW-Authenticate": 'Bearer realm="feedzone"'}
        if not self._options.api_key:
            raise NotAuthorizedException("set API_KEY to use the API", headers=challenge)
        if not self._has_key(connection):
            raise NotAuthorizedException("takes Authorization: Bearer <API_KEY>", headers=challenge)

    async def pages(self, connection: Connection, _: BaseRouteHandler) -> None:
        """ADMIN_PASSWORD with any user name; without one, only people at this very machine."""
        if not self._options.admin_password:
            # The Host header, because a foreign site can make its own name resolve to this machine.
            if self._options.is_local and _host(connection) in LOCAL_NAMES:
                return
            raise PermissionDeniedException("set ADMIN_PASSWORD to see the pages from another machine")
        address = connection.client.host if connection.client else ""
        if wait := self._throttle.wait_s(address):
            headers = {"Retry-After": str(wait)}
            raise TooManyRequestsException(f"too many wrong passwords: wait {wait} s", headers=headers)
        password = _basic_password(connection.headers.get("authorization", ""))
        if password is not None and _equal(password, self._options.admin_password):
            return
        if password is not None:
            self._throttle.failed(address)
            log.warning("wrong_admin_password", address=address)
        challenge = {"WWW-Authenticate": 'Basic realm="feedzone", charset="UTF-8"'}
        raise NotAuthorizedException("takes ADMIN_PASSWORD, with any user name", headers=challenge)

    async def metrics(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """What a monitoring system has, or what a person has."""
        if not (self._options.api_key and self._has_key(connection)):
            await self.pages(connection, handler)

    def _has_key(self, connection: Connection) -> bool:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _equal(key.strip(), self._options.api_key)


def _host(connection: Connection) -> str | None:
    try:
        return urlsplit(f"//{connection.headers.get('host', '')}").hostname
    except ValueError:
        return None


def _basic_password(header: str) -> str | None:
    """The password of a Basic header; None when there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return plain.partition(":")[2]


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
