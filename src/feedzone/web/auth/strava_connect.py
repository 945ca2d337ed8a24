"""Connect an athlete: to Strava's consent page with a one-time state, and back.

A visit of `/connect` writes nothing and calls nobody. The state is signed and carries the athlete's choice. A
link on another site leads to our page with the button first: Strava skips its consent page for athletes who
agreed before, so such a site could connect visitors again and again, and make each of them spend calls.

A cookie binds the state to the browser, so that nobody can make another person's browser connect an
account. After success the browser is redirected, so that the code does not stay in the address bar.
Protocol: docs/strava-api.md#authorize and docs/strava-api.md#token-exchange.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import structlog
from litestar import Request, Response, Router, get
from litestar.datastructures import Cookie
from litestar.params import QueryParameter
from litestar.response import Redirect, Template

from ...domain.athlete import Consent
from ...errors import ApiError, AppInactive, PermanentError, SeatsFull, StorageUnavailable, StravaError
from ..context import Parts, WebParts
from ..pages.join import done, join, left, sign_progress
from .access import Access, anyone, client_address
from .session import cookie_name, is_signed, own_cookie, session_cookie, sign

log = structlog.get_logger("feedzone.connect")

COOKIE = "feedzone_connect"
CONSENT_WITHIN = timedelta(hours=1)

SHARES = {"yes": True, "no": False}

Text = Annotated[str | None, QueryParameter(max_length=500)]
# Litestar reserves the argument names `state` (the application's) and `scope` (ASGI's).
OneTimeState = Annotated[str | None, QueryParameter(name="state", max_length=500)]
GrantedScope = Annotated[str | None, QueryParameter(name="scope", max_length=500)]


@get("/connect")
async def connect(
    request: Request[Any, Any, Any], parts: Parts, force: Text = None, share: Text = None
) -> Response[Any]:
    """Redirect to Strava; `?force=1` makes Strava ask again for scopes that were not granted.

    `?share=yes` or `no`: whether the operator may view the activities. Without it the choice stays as it is.
    """
    if not parts.options.strava_configured:
        return _page(
            503,
            "feedzone is not set up yet",
            "STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET are not set.",
            "Operators: copy both from https://www.strava.com/settings/api to .env and restart.",
        )
    is_forced = force not in (None, "", "0")
    if _is_cross_site(request):
        return Redirect("/join?force=1" if is_forced else "/join", status_code=303)
    state = _new_state(parts, share if share in SHARES else "")
    url = parts.athletes.consent_url(state, force=is_forced)
    cookie = own_cookie(parts.options, COOKIE, sign(parts.options, "consent", state), CONSENT_WITHIN)
    return Redirect(url, status_code=303, cookies=[cookie])


def _new_state(parts: WebParts, share: str) -> str:
    """Return a state that proves its age and carries the choice."""
    claim = f"{secrets.token_urlsafe(24)}.{share}.{int(parts.clock.now().timestamp())}"
    return f"{claim}.{sign(parts.options, 'state', claim)}"


def _is_cross_site(request: Request[Any, Any, Any]) -> bool:
    return request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


@get("/connect/callback")
async def callback(
    request: Request[Any, Any, Any],
    parts: Parts,
    state_: OneTimeState = None,
    code: Text = None,
    scope_: GrantedScope = None,
    error: Text = None,
) -> Response[Any]:
    """Handle the browser's return from Strava. The state's cookie ends in any case."""
    bound = request.cookies.get(cookie_name(parts.options, COOKIE), "")
    try:
        consent = await _redeemed(parts, state_, bound) if state_ else None
        if consent is None:
            response = _page(
                400,
                "This link is not valid",
                "It was used before, is more than an hour old, or was opened in another browser.",
            )
        elif error is not None:
            response = _refused(error)
        elif not code:
            response = _page(400, "Strava sent no code", "The response from Strava was incomplete.")
        else:
            response = await _exchange(request, parts, code, scope_, consent)
    except StorageUnavailable as problem:
        log.error("connect_not_stored", error=str(problem))
        response = _page(
            503, "Not connected", "The database is not available. Nothing was stored. Try again."
        )
    response.cookies.append(own_cookie(parts.options, COOKIE, "", timedelta()))
    return response


async def _redeemed(parts: WebParts, state: str, bound: str) -> Consent | None:
    """Return the consent that belongs to a state of this browser, once; else None."""
    claim, _, signature = state.rpartition(".")
    if not is_signed(parts.options, "consent", state, bound) or not is_signed(
        parts.options, "state", claim, signature
    ):
        return None
    _, share, issued = claim.rsplit(".", 2)
    age_s = parts.clock.now().timestamp() - int(issued)
    if age_s > CONSENT_WITHIN.total_seconds() or not await parts.athletes.use_state(state):
        return None
    return Consent(SHARES.get(share))


def _refused(error: str) -> Response[Any]:
    if error == "access_denied":
        return _page(
            200,
            "You declined at Strava",
            "Nothing was stored. Try again if this was a mistake.",
        )
    return _page(400, "Strava reported an error", "Nothing was stored.")


async def _exchange(
    request: Request[Any, Any, Any], parts: WebParts, code: str, scope: str | None, consent: Consent
) -> Response[Any]:
    access: Access = request.app.state.access
    address = client_address(request)
    if wait_s := access.consents.wait_s(address):
        response = _page(429, "Too many attempts", f"Nothing was stored. Try again in {wait_s} s.")
        response.headers["Retry-After"] = str(wait_s)
        return response
    by_athlete = not access.viewer(request).is_operator
    try:
        connected = await parts.athletes.connect(code, scope, consent, by_athlete=by_athlete)
    except StravaError as problem:
        if isinstance(problem, PermanentError):
            access.consents.failed(address)
        log.warning("connect_failed", reason=type(problem).__name__)
        return _failed(problem)
    progress = sign_progress(parts, connected.athlete.id)
    return Redirect(
        f"/connect/done?of={progress}",
        status_code=303,
        cookies=[await _signed_in(request, parts, connected.athlete.id)],
    )


async def _signed_in(request: Request[Any, Any, Any], parts: WebParts, athlete_id: int) -> Cookie:
    """Return the session of the athlete; an operator stays signed in as operator, too."""
    access: Access = request.app.state.access
    departures = await parts.sessions.departures(athlete_id)
    session = replace(access.session(request), athlete_id=athlete_id, departures=departures)
    return session_cookie(parts.options, session, parts.clock.now())


def _failed(problem: StravaError) -> Response[Any]:
    if isinstance(problem, SeatsFull):
        return _seats_full()
    if isinstance(problem, AppInactive):
        return _page(
            502,
            "Strava has disabled this application",
            "Strava requires a paid subscription of the application's owner. Operators: see "
            "https://www.strava.com/settings/api. Until then nobody can connect. Nothing was stored.",
        )
    if isinstance(problem, ApiError) and any(fault.resource == "Application" for fault in problem.faults):
        return _page(
            502,
            "Strava rejected this application",
            "Operators: STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET do not match "
            "https://www.strava.com/settings/api. Nothing was stored.",
        )
    if isinstance(problem, PermanentError):
        return _page(
            400,
            "Strava rejected the code",
            "It was used before or has expired. Nothing was stored. Try again.",
        )
    return _page(502, "Strava does not respond", "Nothing was stored. Please try again in a few minutes.")


def _seats_full() -> Response[Any]:
    return _page(
        403,
        "All seats are taken",
        "Strava limits the number of connected athletes, and this application has reached its limit. "
        "Nothing was stored.",
        "Operators: a new application has 1 seat. Raise it to 10 at https://www.strava.com/settings/api; "
        "for more, Strava reviews the application.",
        "Disconnecting an athlete frees a seat: feedzone athletes list shows the connected athletes, "
        "feedzone athletes disconnect frees a seat.",
    )


def _page(status: int, title: str, *lines: str) -> Response[Any]:
    context = {"title": title, "lines": lines, "again": status != 503}
    return Template("message.html", context=context, status_code=status)


def oauth_router() -> Router:
    return Router(
        "/", route_handlers=[join, connect, callback, done, left], opt=anyone(), include_in_schema=False
    )
