"""An athlete's own page: state and controls of their own data, and of nobody else's.

Who has just consented at Strava is signed in as that athlete; `/connect` is also the way to sign in again.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, Router, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Stream
from msgspec import Meta, Struct

from ...domain.wording import count
from ...errors import InvalidInput, NotFound
from ...queries.export import zipped
from ..auth.access import athlete
from ..auth.viewer import Viewer, WhoReads
from ..context import Parts
from ..rendering.flash import Notice, is_fragment, local_path, told
from .athlete import DiaryWanted, Shows, looking, page_of

Asked = Request[Any, Any, Any]
FORM = Body(media_type=RequestEncodingType.URL_ENCODED)
Short = Annotated[str, Meta(max_length=500)]


class SyncForm(Struct, frozen=True):
    history: Short = ""
    back: Short = "/me"


class SharingForm(Struct, frozen=True):
    """`share`: yes or no."""

    share: Short = ""
    back: Short = "/me"


def own(reader: Viewer) -> int:
    """Whose page this is. The rule of access lets nobody in of whom that is not known."""
    if reader.athlete_id is None:
        raise NotFound("nobody has signed in with Strava")
    return reader.athlete_id


@get("/me")
async def me(
    request: Asked, parts: Parts, reader: WhoReads, show: Shows, wanted: DiaryWanted
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        mine = await parts.queries.athletes.get(own(reader))
        return await page_of(request, parts, reader, mine, wanted, "/me")

    return await show.page(request, reader, "me", "Your data", load)


@get("/me/disconnect")
async def leave(request: Asked, parts: Parts, reader: WhoReads, show: Shows) -> Response[Any]:
    """What disconnecting will do, before it does it."""

    async def load() -> dict[str, Any]:
        leaves = await parts.queries.athletes.disconnect_preview(own(reader))
        if leaves.athlete.status == "deauthorized":
            raise NotFound("you are not connected")
        return {"leaving": leaves, "action": "/me/disconnect", "back": "/me", "is_own": True}

    return await show.page(request, reader, "disconnect", "Disconnect", load, is_live=False)


@get("/me/download")
async def download(parts: Parts, reader: WhoReads) -> Response[Any]:
    """Everything that is kept of the athlete, as an archive that is sent while it is being made."""
    mine = await parts.queries.athletes.get(own(reader))
    if mine.status == "deauthorized":
        raise NotFound("you are not connected: nothing of yours is kept here")
    now = parts.clock.now()
    archive = zipped(parts.queries.export.pieces(mine.id), now)
    name = f"feedzone-{mine.id}-{now:%Y-%m-%d}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(archive, media_type="application/zip", headers=headers)


@post("/me/sync", status_code=200)
async def sync(
    request: Asked, parts: Parts, reader: WhoReads, data: Annotated[SyncForm, FORM]
) -> Response[Any]:
    everything = data.history == "all"
    await parts.athletes.sync(own(reader), everything=everything)
    days = parts.athletes.initial_sync_days
    span = "Your whole history is" if everything else f"Your last {days} days are"
    return told(
        request, Notice(f"{span} being listed; what differs is fetched."), local_path(data.back, "/me")
    )


@post("/me/verify", status_code=200)
async def verify(request: Asked, parts: Parts, reader: WhoReads) -> Response[Any]:
    await parts.reconciliation.reconcile(own(reader))
    return told(request, Notice("A comparison with Strava is queued."), "/me")


@post("/me/sharing", status_code=200)
async def sharing(
    request: Asked, parts: Parts, reader: WhoReads, data: Annotated[SharingForm, FORM]
) -> Response[Any]:
    if data.share not in ("yes", "no"):
        raise InvalidInput("share: takes yes or no")
    allowed = data.share == "yes"
    await parts.athletes.let_operator_see(own(reader), allowed)
    can = "can see your activities from now on" if allowed else "does not see your activities any more"
    return told(request, Notice(f"The operator {can}."), local_path(data.back, "/me"))


@post("/me/disconnect", status_code=200)
async def left(request: Asked, parts: Parts, reader: WhoReads) -> Response[Any]:
    await parts.athletes.disconnect(own(reader))
    receipt = (await parts.queries.athletes.receipts(own(reader)))[0]
    rows = count(sum(receipt.counts.values()), "row")
    answer = told(
        request, Notice(f"You are disconnected: {rows} were removed, and Strava is being told."), "/me"
    )
    if is_fragment(request):
        answer.headers["HX-Redirect"] = "/me"
    return answer


def own_router() -> Router:
    return Router(
        "/",
        route_handlers=[me, leave, download, sync, verify, sharing, left],
        opt=athlete(),
        dependencies=looking(),
        include_in_schema=False,
    )
