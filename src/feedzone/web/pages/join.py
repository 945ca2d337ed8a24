"""Connecting: the consent page before Strava's, and the progress of the initial sync after it.

The newly connected athlete watches the activities arrive. For an hour the address of that page
shows anybody the number of activities, but nothing about them.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Annotated, Any

from litestar import Response, get
from litestar.params import QueryParameter
from litestar.response import Template

from ...domain.athlete import can_read_activities
from ...errors import NotFound
from ...queries.athletes import Athlete
from ..auth.access import can_view
from ..auth.scopes import scopes
from ..auth.session import sign
from ..auth.viewer import CurrentViewer
from ..context import HttpRequest, Parts, WebOptions, WebParts
from ..rendering.page_renderer import Renderer

Text = Annotated[str | None, QueryParameter(max_length=500)]

PROGRESS_LIFETIME = timedelta(hours=1)
"""How long the address of the page after the consent shows an athlete's progress."""


@get("/join")
async def join(parts: Parts, viewer: CurrentViewer, force: Text = None) -> Response[Any]:
    """Explain what connecting means. Open to everyone; stores nothing."""
    options = parts.options
    context = {
        "title": "Connect your Strava account",
        "options": options,
        "days": parts.athletes.initial_sync_days,
        "scopes": scopes(()),
        # An operator may see their own account anyway.
        "shares": viewer.is_operator,
        "force": "&force=1" if force == "1" else "",
        "is_connected": viewer.athlete_id is not None,
        "leaving": await _leaving(parts, viewer.athlete_id),
        "viewer": viewer,
        "now": parts.clock.now(),
    }
    return Template("join.html", context=context)


async def _leaving(parts: WebParts, athlete_id: int | None) -> Athlete | None:
    """Return the signed-in athlete if their data has a deadline."""
    if athlete_id is None:
        return None
    try:
        athlete = await parts.queries.athletes.get(athlete_id)
    except NotFound:
        return None
    return athlete if athlete.status == "leaving" else None


@get("/connect/done")
async def done(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer, of: Text = None
) -> Response[Any]:
    """Show the connected athlete, missing permissions and the progress of the initial sync."""
    from_address = read_progress(parts.options, parts.clock.now().timestamp(), of or "")
    athlete_id = viewer.athlete_id if from_address is None else from_address

    async def load() -> dict[str, Any]:
        athlete = await _connected(parts, athlete_id)
        is_own = viewer.athlete_id == athlete.id
        # The address works for everyone, even on installations whose other pages are local only.
        is_visible = is_own or (viewer.is_operator and can_view(parts.options, viewer, athlete))
        return {
            "athlete": athlete,
            "is_own": is_own,
            "is_visible": is_visible,
            "arrived": await parts.queries.calendar.recently_fetched(athlete.id) if is_visible else [],
            "readable": can_read_activities(frozenset(athlete.scopes)),
            "missing": [scope for scope in scopes(athlete.scopes) if not scope.granted],
            "days": parts.athletes.initial_sync_days,
        }

    return await renderer.page(request, viewer, "connected", "Connected", load)


@get("/left")
async def left(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer, of: Text = None
) -> Response[Any]:
    """Show the receipt to an athlete who has just left, and whose session has ended with that."""
    athlete_id = read_progress(parts.options, parts.clock.now().timestamp(), of or "")

    async def load() -> dict[str, Any]:
        receipts = [] if athlete_id is None else await parts.queries.athletes.receipts(athlete_id)
        if not receipts:
            raise NotFound("this link has expired")
        return {"receipts": receipts[:3]}

    return await renderer.page(request, viewer, "left", "Disconnected", load)


async def _connected(parts: WebParts, athlete_id: int | None) -> Athlete:
    athlete = None if athlete_id is None else await parts.queries.athletes.get(athlete_id)
    if athlete is None or athlete.status == "deauthorized":
        raise NotFound("this link has expired; the sync continues")
    return athlete


def sign_progress(parts: WebParts, athlete_id: int) -> str:
    """Return the signed part of the address of an athlete's progress."""
    until = int((parts.clock.now() + PROGRESS_LIFETIME).timestamp())
    claim = f"{athlete_id}.{until}"
    return f"{claim}.{sign(parts.options, 'progress', claim)}"


def read_progress(options: WebOptions, now: float, address: str) -> int | None:
    """Return the athlete's id from such an address; None if it is forged or expired."""
    claim, _, signature = address.rpartition(".")
    # Without a client secret the session key is predictable, so the address would be forged.
    if not options.strava_configured or not hmac.compare_digest(
        signature.encode(), sign(options, "progress", claim).encode()
    ):
        return None
    athlete_id, _, until = claim.partition(".")
    return int(athlete_id) if int(until) > now else None
