"""Sign-in and sign-out of the operator, and the display preferences of every viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect, Template
from msgspec import Meta, Struct

from ..context import HttpRequest, Parts
from ..rendering.flash import is_fragment, local_path
from .access import Access, anyone
from .session import NOBODY, session_cookie
from .viewer import COOKIE_LIFETIME_S, THEME_COOKIE, THEMES, UNITS, UNITS_COOKIE, CurrentViewer

Next = Annotated[str | None, QueryParameter(name="next", max_length=500)]
Short = Annotated[str, Meta(max_length=500)]


class Password(Struct, frozen=True):
    password: Short = ""
    next: Short = "/"


class Preference(Struct, frozen=True):
    theme: Short = ""
    units: Short = ""
    back: Short = "/"


FORM = Body(media_type=RequestEncodingType.URL_ENCODED)


@get("/login")
async def login(parts: Parts, viewer: CurrentViewer, to: Next = None) -> Response[Any]:
    if viewer.is_operator:
        return Redirect(local_path(to), status_code=303)
    return _form(local_path(to), closed=not parts.options.admin_password)


def _form(to: str, *, wrong: bool = False, closed: bool = False) -> Response[Any]:
    context = {"next": to, "wrong": wrong, "closed": closed, "title": "Sign in"}
    return Template("login.html", context=context, status_code=401 if wrong else 200)


@post("/login", status_code=200)
async def sign_in(request: HttpRequest, parts: Parts, data: Annotated[Password, FORM]) -> Response[Any]:
    access: Access = request.app.state.access
    if not access.check_password(request, data.password):
        return _form(local_path(data.next), wrong=True, closed=not parts.options.admin_password)
    session = replace(access.session(request), is_operator=True)
    cookies = [session_cookie(parts.options, session, parts.clock.now()), access.browser_cookie(request)]
    return Redirect(local_path(data.next), status_code=303, cookies=cookies)


@post("/logout", status_code=200)
async def sign_out(request: HttpRequest, parts: Parts) -> Response[Any]:
    access: Access = request.app.state.access
    if session_id := access.session(request).id:
        await parts.sessions.end(session_id)
    cookie = session_cookie(parts.options, NOBODY, parts.clock.now())
    return Redirect("/login", status_code=303, cookies=[cookie])


@post("/preferences", status_code=200)
async def preferences(request: HttpRequest, parts: Parts, data: Annotated[Preference, FORM]) -> Response[Any]:
    """Store theme and units in cookies."""
    chosen = [
        Cookie(
            name,
            value=value,
            path="/",
            max_age=COOKIE_LIFETIME_S,
            secure=parts.options.is_https,
            samesite="lax",
        )
        for name, value, options in (
            (THEME_COOKIE, data.theme, THEMES),
            (UNITS_COOKIE, data.units, UNITS),
        )
        if value in options
    ]
    if is_fragment(request):
        return Response(None, status_code=204, cookies=chosen, headers={"HX-Refresh": "true"})
    return Redirect(local_path(data.back), status_code=303, cookies=chosen)


def signin_router() -> Router:
    return Router(
        "/",
        route_handlers=[login, sign_in, sign_out, preferences],
        opt=anyone(),
        include_in_schema=False,
    )
