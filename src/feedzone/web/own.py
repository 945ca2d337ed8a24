"""An athlete's own page: state and controls of their own data, and of nobody else's.

Who has just consented at Strava is signed in as that athlete; `/connect` is also the way to sign in again.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, Router, get, post

from ..errors import NotFound
from .access import athlete
from .checks import count
from .notices import Notice, is_fragment, told
from .pages import SCOPES, Shows
from .parts import Parts
from .reader import Reader, WhoReads

Asked = Request[Any, Any, Any]


def own(reader: Reader) -> int:
    """Whose page this is. The rule of access lets nobody in of whom that is not known."""
    if reader.athlete_id is None:
        raise NotFound("nobody has signed in with Strava")
    return reader.athlete_id


@get("/me")
async def me(request: Asked, parts: Parts, reader: WhoReads, show: Shows) -> Response[Any]:
    async def load() -> dict[str, Any]:
        mine = await parts.insights.athlete(own(reader))
        left = mine.status == "deauthorized"
        return {
            "athlete": mine,
            "missing": [scope for scope in SCOPES if scope not in mine.scopes],
            "receipts": (await parts.insights.receipts(mine.id))[:3] if left else [],
        }

    return await show.page(request, reader, "me", "Your data", load)


@get("/me/disconnect")
async def leave(request: Asked, parts: Parts, reader: WhoReads, show: Shows) -> Response[Any]:
    """What disconnecting will do, before it does it."""

    async def load() -> dict[str, Any]:
        leaves = await parts.pages.leaving(own(reader))
        if leaves.athlete.status == "deauthorized":
            raise NotFound("you are not connected")
        return {"leaving": leaves, "action": "/me/disconnect", "back": "/me", "is_own": True}

    return await show.page(request, reader, "disconnect", "Disconnect", load, is_live=False)


@post("/me/sync", status_code=200)
async def sync(request: Asked, parts: Parts, reader: WhoReads) -> Response[Any]:
    await parts.athletes.sync(own(reader))
    days = parts.athletes.initial_sync_days
    return told(request, Notice(f"Your last {days} days are being listed; what differs is fetched."), "/me")


@post("/me/disconnect", status_code=200)
async def left(request: Asked, parts: Parts, reader: WhoReads) -> Response[Any]:
    await parts.athletes.disconnect(own(reader))
    receipt = (await parts.insights.receipts(own(reader)))[0]
    rows = count(sum(receipt.counts.values()), "row")
    answer = told(
        request, Notice(f"You are disconnected: {rows} were removed, and Strava is being told."), "/me"
    )
    if is_fragment(request):
        answer.headers["HX-Redirect"] = "/me"
    return answer


def own_router() -> Router:
    return Router("/", route_handlers=[me, leave, sync, left], opt=athlete(), include_in_schema=False)
