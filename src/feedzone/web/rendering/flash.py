"""What an action did, said at once: in place where there are scripts, else on the next page."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect, Template

from ..auth.session import is_signed, sign
from ..context import WebOptions

COOKIE = "feedzone_notice"
LASTS_S = 60


class Notice(msgspec.Struct, frozen=True):
    """`undo` is where a form takes it back, for a minute."""

    text: str
    level: str = "good"
    undo: str = ""


def is_fragment(request: Request[Any, Any, Any]) -> bool:
    """Whether htmx asks, and puts the answer into a page that is open."""
    return request.headers.get("hx-request") == "true"


def told(request: Request[Any, Any, Any], notice: Notice, back: str) -> Response[Any]:
    """The answer to an action."""
    request.app.state.live.touch()
    if is_fragment(request):
        return Template("notice.html", context={"notice": notice}, headers={"HX-Trigger": "changed"})
    options: WebOptions = request.app.state.options
    return Redirect(back, status_code=303, cookies=[_cookie(options, _sealed(options, notice), LASTS_S)])


def left_over(request: Request[Any, Any, Any]) -> Notice | None:
    """What the action before this page has to say."""
    text, _, signature = request.cookies.get(COOKIE, "").rpartition(".")
    if not text or not is_signed(request.app.state.options, "notice", text, signature):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Notice)
    except (binascii.Error, msgspec.DecodeError):
        return None


def heard(options: WebOptions) -> Cookie:
    """Said once is enough."""
    return _cookie(options, "", 0)


def _sealed(options: WebOptions, notice: Notice) -> str:
    text = base64.urlsafe_b64encode(msgspec.json.encode(notice)).decode()
    return f"{text}.{sign(options, 'notice', text)}"


def _cookie(options: WebOptions, value: str, seconds: int) -> Cookie:
    return Cookie(
        COOKIE,
        value=value,
        path="/",
        max_age=seconds,
        httponly=True,
        secure=options.is_https,
        samesite="lax",
    )


def local_path(text: str | None, otherwise: str = "/") -> str:
    """A path of this site; whatever could lead elsewhere is not taken."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return otherwise
    return text
