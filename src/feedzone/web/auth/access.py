"""Access rules. Every route declares one; a route without a rule is closed."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import structlog
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler

from ...errors import StorageUnavailable
from ...ports import Clock
from ...services.sessions import SessionService
from ..context import WebOptions
from .session import NOBODY, Session, cookie_name, is_signed, own_cookie, read_session, sign
from .throttle import Throttle
from .viewer import Viewer, viewer

log = structlog.get_logger("feedzone.access")

Connection = ASGIConnection[Any, Any, Any, Any]
Rule = Literal["anyone", "operator", "athlete", "member", "api", "metrics"]

_SESSION = "feedzone_session"
BROWSER_COOKIE = "feedzone_browser"
BROWSER_LIFETIME = timedelta(days=365)

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


class SignInFirst(NotAuthorizedException):
    """Raised for a page that requires a sign-in; the response leads to the form."""


def anyone() -> dict[str, Rule]:
    """Allow everyone: health, sign-in, consent, the API reference, assets."""
    return {"access": "anyone"}


def operator() -> dict[str, Rule]:
    """Allow operators: by ADMIN_PASSWORD, or from this machine if none is set."""
    return {"access": "operator"}


def athlete() -> dict[str, Rule]:
    """Allow athletes signed in with Strava, for their own data."""
    return {"access": "athlete"}


def member() -> dict[str, Rule]:
    """Allow operators and signed-in athletes; the handler checks whose data it returns."""
    return {"access": "member"}


def api() -> dict[str, Rule]:
    """Allow programs with `Authorization: Bearer API_KEY` only."""
    return {"access": "api"}


def metrics() -> dict[str, Rule]:
    """Allow monitoring systems (API key, or the password as HTTP Basic) and operators."""
    return {"access": "metrics"}


class Owned(Protocol):
    """Data that belongs to an athlete, for example an activity."""

    @property
    def athlete_id(self) -> int: ...
    @property
    def operator_may_see(self) -> bool: ...


def can_view(options: WebOptions, viewer: Viewer, owned: Owned) -> bool:
    """Return whether the viewer may view an athlete's data.

    Strava's rules: only the athlete may, and an operator with the athlete's consent
    (docs/strava-api.md#program-and-policy). A local installation has one person in both roles.
    """
    if options.is_local or viewer.athlete_id == owned.athlete_id:
        return True
    return viewer.is_operator and owned.operator_may_see


class Access:
    """The access rules of one application. It also finds out who sends a request."""

    def __init__(self, options: WebOptions, clock: Clock, sessions: SessionService) -> None:
        self._options = options
        self._sessions = sessions
        self._clock = clock
        self.throttle = Throttle(clock)
        self.consents = Throttle(clock)
        """Counts codes that Strava rejected: each cost it a request."""

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        rule = handler.opt.get("access")
        try:
            connection.scope[_SESSION] = await self._current(connection)  # type: ignore[literal-required]
        except StorageUnavailable:
            if rule != "anyone":
                raise
            connection.scope[_SESSION] = NOBODY  # type: ignore[literal-required]
        match rule:
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
                raise PermissionDeniedException("this route has no access rule")

    def now(self) -> datetime:
        return self._clock.now()

    def viewer(self, connection: Connection) -> Viewer:
        session = self.session(connection)
        return viewer(
            connection.cookies,
            is_operator=session.is_operator or self.is_local_operator(connection),
            athlete_id=session.athlete_id,
            signed_in=session.is_operator or session.athlete_id is not None,
        )

    def is_local_operator(self, connection: Connection) -> bool:
        """Return whether a request without a password comes from an operator on this machine.

        Checks the address, because the port may be open to others, and the Host header, because a foreign
        site can make its own name resolve to this machine.
        """
        return (
            not self._options.admin_password
            and self._options.is_local
            and _is_loopback(client_address(connection))
            and _host(connection) in LOCAL_NAMES
        )

    def check_password(self, connection: Connection, password: str) -> bool:
        """Return whether this is ADMIN_PASSWORD. Raises TooManyRequestsException."""
        is_right = self._check(connection, password, self._options.admin_password, self._browser(connection))
        if not is_right:
            log.warning("wrong_admin_password", address=client_address(connection))
        return is_right

    def _check(self, connection: Connection, secret: str, expected: str, browser: str = "") -> bool:
        """Return whether a secret is right, and count it if not. Raises TooManyRequestsException."""
        address = client_address(connection)
        if wait := self.throttle.wait_s(address, browser):
            headers = {"Retry-After": str(wait)}
            raise TooManyRequestsException(
                f"too many wrong passwords or keys: try again in {wait} s", headers=headers
            )
        if expected and _equal(secret, expected):
            self.throttle.succeeded(address)
            return True
        self.throttle.failed(address, browser)
        return False

    def browser_cookie(self, connection: Connection) -> Cookie:
        """Return the cookie by which the throttle recognizes a browser in which an operator signed in."""
        browser = self._browser(connection) or secrets.token_hex(16)
        value = f"{browser}.{sign(self._options, 'browser', browser)}"
        return own_cookie(self._options, BROWSER_COOKIE, value, BROWSER_LIFETIME)

    def _browser(self, connection: Connection) -> str:
        """Return the id of a browser in which an operator has signed in before; empty for others."""
        value = connection.cookies.get(cookie_name(self._options, BROWSER_COOKIE), "")
        browser, _, signature = value.partition(".")
        return browser if browser and is_signed(self._options, "browser", browser, signature) else ""

    async def _current(self, connection: Connection) -> Session:
        """Return the session of a request, without the parts that ended."""
        session = self._claimed(connection)
        if not session.id:
            return NOBODY
        is_ended, departures = await self._sessions.state(session.id, session.athlete_id)
        if is_ended:
            return NOBODY
        return session if departures == session.departures else replace(session, athlete_id=None)

    def session(self, connection: Connection) -> Session:
        """Return the session that the guard accepted; that of the cookie for a path without a route."""
        accepted: Session | None = connection.scope.get(_SESSION)  # type: ignore[assignment]
        return self._claimed(connection) if accepted is None else accepted

    def _claimed(self, connection: Connection) -> Session:
        session = read_session(self._options, connection.cookies, self._clock.now())
        # Without a password or a client secret the key is predictable: such a session would be forged.
        return replace(
            session,
            is_operator=session.is_operator and bool(self._options.admin_password),
            athlete_id=session.athlete_id if self._options.strava_configured else None,
        )

    def _operator(self, connection: Connection) -> None:
        if self.session(connection).is_operator or self.is_local_operator(connection):
            return
        if not self._options.admin_password:
            raise PermissionDeniedException(
                "ADMIN_PASSWORD is not set, so these pages are available only on the machine that runs "
                "feedzone. Operators: add ADMIN_PASSWORD=... to .env and restart."
            )
        raise SignInFirst("sign in with ADMIN_PASSWORD")

    def _athlete(self, connection: Connection) -> None:
        if self.session(connection).athlete_id is None:
            raise SignInFirst("sign in with Strava")

    def _member(self, connection: Connection) -> None:
        if self.session(connection).athlete_id is None:
            self._operator(connection)

    def _api(self, connection: Connection) -> None:
        challenge = {"WWW-Authenticate": 'Bearer realm="feedzone"'}
        if not self._options.api_key:
            raise NotAuthorizedException("set API_KEY to use the API", headers=challenge)
        if not self._has_key(connection):
            raise NotAuthorizedException("send Authorization: Bearer <API_KEY>", headers=challenge)

    def _metrics(self, connection: Connection) -> None:
        if self._options.api_key and self._has_key(connection):
            return
        if self.session(connection).is_operator or self.is_local_operator(connection):
            return
        if not self._options.admin_password:
            raise PermissionDeniedException(
                "set API_KEY or ADMIN_PASSWORD to read metrics from another machine"
            )
        password = _basic_password(connection.headers.get("authorization", ""))
        if password is None or not self.check_password(connection, password):
            challenge = {"WWW-Authenticate": 'Basic realm="feedzone", charset="UTF-8"'}
            raise NotAuthorizedException(
                "send API_KEY, or ADMIN_PASSWORD with any user name", headers=challenge
            )

    def _has_key(self, connection: Connection) -> bool:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._check(connection, key.strip(), self._options.api_key)


def client_address(connection: Connection) -> str:
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
    """Return the password of a Basic header; None without one."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return plain.partition(":")[2]


def _equal(secret: str, expected: str) -> bool:
    return hmac.compare_digest(secret.encode(), expected.encode())
