"""Who may see what. Every route declares a rule; one that declares none is closed."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import structlog
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler

from ...ports import Clock
from ..context import WebOptions
from .session import COOKIE, Session, read_session
from .throttle import Throttle
from .viewer import Viewer, reader

log = structlog.get_logger("feedzone.access")

Connection = ASGIConnection[Any, Any, Any, Any]
Rule = Literal["anyone", "operator", "athlete", "member", "api", "metrics"]

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


class SignInFirst(NotAuthorizedException):
    """The page is for people who have signed in: they are led to where they can."""


def anyone() -> dict[str, Rule]:
    """Open: health, sign-in, consent, the API's description, what pages load."""
    return {"access": "anyone"}


def operator() -> dict[str, Rule]:
    """The running of it: ADMIN_PASSWORD, or this very machine where none is set."""
    return {"access": "operator"}


def athlete() -> dict[str, Rule]:
    """An athlete who has signed in with Strava, for what is their own."""
    return {"access": "athlete"}


def member() -> dict[str, Rule]:
    """An operator, or an athlete who has signed in: what says nothing of anybody."""
    return {"access": "member"}


def api() -> dict[str, Rule]:
    """Programs: Bearer API_KEY, and nothing else."""
    return {"access": "api"}


def metrics() -> dict[str, Rule]:
    """What a monitoring system has (a key, or the password as HTTP Basic), or an operator."""
    return {"access": "metrics"}


class Owned(Protocol):
    """What belongs to an athlete: an activity, say."""

    @property
    def athlete_id(self) -> int: ...
    @property
    def operator_may_see(self) -> bool: ...


def sees(options: WebOptions, reader: Viewer, owned: Owned) -> bool:
    """Strava's rules: an athlete's data is for that athlete, and for an operator only with the athlete's
    consent. On one's own machine one is both."""
    if options.is_local or reader.athlete_id == owned.athlete_id:
        return True
    return reader.is_operator and owned.operator_may_see


class Access:
    """The guard of one application, and what it finds out about who asks."""

    def __init__(self, options: WebOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self.throttle = Throttle(clock)

    def __deepcopy__(self, _: dict[int, Any]) -> Access:
        # Litestar copies guards with each handler, but there is one throttle and one clock.
        return self

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        match handler.opt.get("access"):
            case "anyone":
                return
            case "operator":
                self._operator(connection)
            case "athlete":
                self._athlete(connection)
            case "member":
                self._member(connection)
            case "api":
                self._api(connection)
            case "metrics":
                self._metrics(connection)
            case _:
                raise PermissionDeniedException("nobody may do this")

    def reader(self, connection: Connection) -> Viewer:
        session = self._session(connection)
        return reader(
            connection.cookies,
            is_operator=session.is_operator or self.is_at_home(connection),
            athlete_id=session.athlete_id,
            signed_in=session.is_operator or session.athlete_id is not None,
        )

    def is_at_home(self, connection: Connection) -> bool:
        """Without a password, only people at this very machine are operators.

        By address, because a port may be open to others; by the name they used (Host), because a foreign
        site can make its own name resolve to this machine.
        """
        return (
            not self._options.admin_password
            and self._options.is_local
            and _is_loopback(_address(connection))
            and _host(connection) in LOCAL_NAMES
        )

    def check_password(self, connection: Connection, password: str) -> bool:
        """Whether this is ADMIN_PASSWORD. Raises TooManyRequestsException."""
        address = _address(connection)
        if wait := self.throttle.wait_s(address):
            headers = {"Retry-After": str(wait)}
            raise TooManyRequestsException(f"too many wrong passwords: wait {wait} s", headers=headers)
        if self._options.admin_password and _equal(password, self._options.admin_password):
            self.throttle.succeeded(address)
            return True
        self.throttle.failed(address)
        log.warning("wrong_admin_password", address=address)
        return False

    def _session(self, connection: Connection) -> Session:
        session = read_session(self._options, connection.cookies.get(COOKIE, ""), self._clock.now())
        # Without a password nobody can have signed in with one; without a client secret nobody with Strava.
        return Session(
            session.is_operator and bool(self._options.admin_password),
            session.athlete_id if self._options.strava_configured else None,
        )

    def _operator(self, connection: Connection) -> None:
        if self._session(connection).is_operator or self.is_at_home(connection):
            return
        if not self._options.admin_password:
            raise PermissionDeniedException(
                "No ADMIN_PASSWORD is set, so the pages are shown only on the machine that feedzone runs on. "
                " Whoever runs this: put ADMIN_PASSWORD=... into .env, and restart."
            )
        raise SignInFirst("takes ADMIN_PASSWORD")

    def _athlete(self, connection: Connection) -> None:
        if self._session(connection).athlete_id is None:
            raise SignInFirst("takes an athlete who has signed in with Strava")

    def _member(self, connection: Connection) -> None:
        if self._session(connection).athlete_id is None:
            self._operator(connection)

    def _api(self, connection: Connection) -> None:
        challenge = {"WWW-Authenticate": 'Bearer realm="feedzone"'}
        if not self._options.api_key:
            raise NotAuthorizedException("set API_KEY to use the API", headers=challenge)
        if not self._has_key(connection):
            raise NotAuthorizedException("takes Authorization: Bearer <API_KEY>", headers=challenge)

    def _metrics(self, connection: Connection) -> None:
        if self._options.api_key and self._has_key(connection):
            return
        if self._session(connection).is_operator or self.is_at_home(connection):
            return
        if not self._options.admin_password:
            raise PermissionDeniedException("set API_KEY or ADMIN_PASSWORD to read metrics from elsewhere")
        password = _basic_password(connection.headers.get("authorization", ""))
        if password is None or not self.check_password(connection, password):
            challenge = {"WWW-Authenticate": 'Basic realm="feedzone", charset="UTF-8"'}
            raise NotAuthorizedException(
                "takes API_KEY, or ADMIN_PASSWORD with any user name", headers=challenge
            )

    def _has_key(self, connection: Connection) -> bool:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _equal(key.strip(), self._options.api_key)


def _address(connection: Connection) -> str:
    return connection.client.host if connection.client else ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


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
