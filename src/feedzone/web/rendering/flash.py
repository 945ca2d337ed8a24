"""The result of an action as a notice: in place where scripts run, else on the next page."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect, Template

from ..auth.session import cookie_name, is_signed, own_cookie, sign
from ..context import WebOptions

COOKIE = "feedzone_notice"
LIFETIME = timedelta(seconds=60)


class Notice(msgspec.Struct, frozen=True):
    """A message to the viewer. `undo`: the address of a form that reverts the action, for a minute."""

    text: str
    level: str = "good"
    undo: str = ""


def is_fragment(request: Request[Any, Any, Any]) -> bool:
    """Return whether htmx sent the request and puts the response into an open page."""
    return request.headers.get("hx-request") == "true"


def respond(request: Request[Any, Any, Any], notice: Notice, back: str) -> Response[Any]:
    """Return the response to an action: the notice alone, or a redirect that carries it."""
    request.app.state.live.touch()
    if is_fragment(request):
        return Template("notice.html", context={"notice": notice}, headers={"HX-Trigger": "changed"})
    options: WebOptions = request.app.state.options
    return Redirect(
        back, status_code=303, cookies=[own_cookie(options, COOKIE, _sealed(options, notice), LIFETIME)]
    )


def pending_notice(request: Request[Any, Any, Any]) -> Notice | None:
    """Return the notice of the action that led to this page."""
    options: WebOptions = request.app.state.options
    text, _, signature = request.cookies.get(cookie_name(options, COOKIE), "").rpartition(".")
    if not text or not is_signed(options, "notice", text, signature):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Notice)
    except (binascii.Error, msgspec.DecodeError):
        return None


def expired_cookie(options: WebOptions) -> Cookie:
    """Return the cookie that removes a notice once a page has shown it."""
    return own_cookie(options, COOKIE, "", timedelta())


def _sealed(options: WebOptions, notice: Notice) -> str:
    text = base64.urlsafe_b64encode(msgspec.json.encode(notice)).decode()
    return f"{text}.{sign(options, 'notice', text)}"


def local_path(text: str | None, default: str = "/") -> str:
    """Return a path of this site; `default` instead of anything that could lead elsewhere."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return default
    return text
