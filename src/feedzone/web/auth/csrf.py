"""Protection of forms against other sites: a token in a cookie and in the form, bound to the session.

A token that cannot be verified is replaced with the next page: it was made before a sign-in or sign-out, or
before ADMIN_PASSWORD or the client secret changed.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import RequestEncodingType, ScopeType
from litestar.exceptions import PermissionDeniedException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from ..context import WebOptions
from .session import COOKIE as SESSION
from .session import cookie_name, is_signed, own_cookie, sign

COOKIE = "feedzone_csrf"
HEADER = "x-csrftoken"
FIELD = "_csrf_token"
FAILED = "CSRF token verification failed"

SAFE = ("GET", "HEAD", "OPTIONS")
EXCLUDED = ("/api/", "/static/")
"""Programs send a key, which no browser adds on its own; assets have no forms."""

_KEY = "feedzone_csrf"
LIFETIME = timedelta(days=30)


class Csrf:
    """The middleware. A response to a safe method carries the cookie if the browser has no valid one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"].startswith(EXCLUDED):
            await self.app(scope, receive, send)
            return
        request: Request[Any, Any, Any] = Request(scope, receive)
        options: WebOptions = request.app.state.options
        session = request.cookies.get(cookie_name(options, SESSION), "")
        existing = request.cookies.get(cookie_name(options, COOKIE), "")
        is_valid = _is_valid(options, existing, session)
        token = existing if is_valid else _new_token(options, session)
        scope[_KEY] = token  # type: ignore[literal-required]
        if request.method in SAFE:
            await self.app(scope, receive, send if is_valid else _with_cookie(options, send, token))
        elif is_valid and hmac.compare_digest((await _submitted(request)).encode(), existing.encode()):
            await self.app(scope, receive, send)
        else:
            raise PermissionDeniedException(FAILED)


def _new_token(options: WebOptions, session: str) -> str:
    number = secrets.token_hex(16)
    return f"{number}.{sign(options, 'csrf', f'{number}.{session}')}"


def _is_valid(options: WebOptions, token: str, session: str) -> bool:
    number, _, signature = token.partition(".")
    return bool(number) and is_signed(options, "csrf", f"{number}.{session}", signature)


def _with_cookie(options: WebOptions, send: Send, token: str) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            cookie = own_cookie(options, COOKIE, token, LIFETIME)
            MutableScopeHeaders.from_message(message).add("set-cookie", cookie.to_header(header=""))
        await send(message)

    return wrapped


async def _submitted(request: Request[Any, Any, Any]) -> str:
    """Return the token of the header or of the form."""
    if token := request.headers.get(HEADER):
        return token
    if request.content_type[0] in (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART):
        field = (await request.form()).get(FIELD)
        return field if isinstance(field, str) else ""
    return ""


@pass_context
def csrf_token(context: Context) -> str:
    """Return the token of the request, for forms in templates."""
    return str(context["request"].scope.get(_KEY, ""))
