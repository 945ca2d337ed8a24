"""An athlete's own page: the status of their data, and what they can do with it.

Connecting at Strava signs an athlete in; `/connect` is also how they sign in again.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, Router, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Stream
from msgspec import Meta, Struct

from ...domain.wording import count
from ...errors import InvalidInput, NotFound
from ...queries.export import zipped
from ..auth.access import athlete
from ..auth.viewer import CurrentViewer, Viewer
from ..context import HttpRequest, Parts
from ..rendering.flash import Notice, is_fragment, local_path, respond
from ..rendering.page_renderer import Renderer
from .athlete import RequestedFilter, athlete_context, filter_dependency
from .join import sign_progress

FORM = Body(media_type=RequestEncodingType.URL_ENCODED)
Short = Annotated[str, Meta(max_length=500)]


class SyncForm(Struct, frozen=True):
    history: Short = ""
    back: Short = "/me"


class SharingForm(Struct, frozen=True):
    """`share`: `yes` or `no`."""

    share: Short = ""
    back: Short = "/me"


def own_id(viewer: Viewer) -> int:
    """Return the signed-in athlete's id. The access rule guarantees that there is one."""
    if viewer.athlete_id is None:
        raise NotFound("sign in with Strava first")
    return viewer.athlete_id


@get("/me")
async def me(
    request: HttpRequest,
    parts: Parts,
    viewer: CurrentViewer,
    renderer: Renderer,
    calendar_filter: RequestedFilter,
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        own = await parts.queries.athletes.get(own_id(viewer))
        return await athlete_context(request, parts, viewer, own, calendar_filter, "/me")

    return await renderer.page(request, viewer, "me", "Your data", load)


@get("/me/disconnect")
async def confirm_disconnect(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer
) -> Response[Any]:
    """Show what disconnecting deletes, and ask for confirmation."""

    async def load() -> dict[str, Any]:
        preview = await parts.queries.athletes.disconnect_preview(own_id(viewer))
        if preview.athlete.status == "deauthorized":
            raise NotFound("you are not connected")
        return {"preview": preview, "action": "/me/disconnect", "back": "/me", "is_own": True}

    return await renderer.page(request, viewer, "disconnect", "Disconnect", load, is_live=False)


@get("/me/download")
async def download(parts: Parts, viewer: CurrentViewer) -> Response[Any]:
    """Send all data of the athlete as an archive, built while it is sent."""
    own = await parts.queries.athletes.get(own_id(viewer))
    if own.status == "deauthorized":
        raise NotFound("you are not connected, so there is no data to download")
    now = parts.clock.now()
    archive = zipped(parts.queries.export.pieces(own.id), now)
    name = f"feedzone-{own.id}-{now:%Y-%m-%d}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(archive, media_type="application/zip", headers=headers)


@post("/me/sync", status_code=200)
async def sync(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, data: Annotated[SyncForm, FORM]
) -> Response[Any]:
    everything = data.history == "all"
    await parts.athletes.sync(own_id(viewer), everything=everything, by_athlete=not viewer.is_operator)
    days = parts.athletes.initial_sync_days
    sync_range = "your full history" if everything else f"your last {days} days"
    return respond(request, Notice(f"Syncing {sync_range}."), local_path(data.back, "/me"))


@post("/me/verify", status_code=200)
async def verify(request: HttpRequest, parts: Parts, viewer: CurrentViewer) -> Response[Any]:
    await parts.reconciliation.reconcile(own_id(viewer), by_athlete=not viewer.is_operator)
    return respond(request, Notice("Check queued."), "/me")


@post("/me/sharing", status_code=200)
async def sharing(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, data: Annotated[SharingForm, FORM]
) -> Response[Any]:
    if data.share not in ("yes", "no"):
        raise InvalidInput("share: must be yes or no")
    allowed = data.share == "yes"
    await parts.athletes.let_operator_see(own_id(viewer), allowed)
    can = "can now see" if allowed else "can no longer see"
    return respond(request, Notice(f"The operator {can} your activities."), local_path(data.back, "/me"))


@post("/me/disconnect", status_code=200)
async def disconnect(request: HttpRequest, parts: Parts, viewer: CurrentViewer) -> Response[Any]:
    athlete_id = own_id(viewer)
    await parts.athletes.disconnect(athlete_id)
    receipt = (await parts.queries.athletes.receipts(athlete_id))[0]
    rows = count(sum(receipt.counts.values()), "row")
    text = f"You are disconnected: {rows} deleted. Revoking access at Strava."
    address = f"/left?of={sign_progress(parts, athlete_id)}"
    response = respond(request, Notice(text), address)
    if is_fragment(request):
        response.headers["HX-Redirect"] = address
    return response


def me_router() -> Router:
    return Router(
        "/",
        route_handlers=[me, confirm_disconnect, download, sync, verify, sharing, disconnect],
        opt=athlete(),
        dependencies=filter_dependency(),
        include_in_schema=False,
    )
