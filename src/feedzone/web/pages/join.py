"""The way in: what one agrees to before Strava asks, and the first sync as it comes.

Who has just consented sees their activities appear; who has the page's address alone sees how many there are,
for an hour.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation
from litestar.response import Template

from ...domain.athlete import can_read_activities
from ...errors import NotFound
from ...queries.athletes import Athlete
from ..auth.access import sees
from ..auth.scopes import scopes
from ..auth.session import sign
from ..auth.viewer import WhoReads
from ..context import Parts, WebOptions, WebParts
from ..rendering.pages import Show

Asked = Request[Any, Any, Any]
Shows = NamedDependency[SkipValidation[Show]]
Text = Annotated[str | None, QueryParameter(max_length=500)]

PROGRESS_FOR = timedelta(hours=1)
"""How long the page after the consent shows an athlete's progress to whoever has its address."""


@get("/join")
async def join(parts: Parts, reader: WhoReads) -> Response[Any]:
    """What connecting means. Open to anyone, and stores nothing."""
    options = parts.options
    context = {
        "title": "Connect your Strava account",
        "options": options,
        "days": parts.athletes.initial_sync_days,
        "scopes": scopes(()),
        # Who runs this and connects themselves need not be asked whether they may see it.
        "shares": reader.is_operator,
        "is_connected": reader.athlete_id is not None,
    }
    return Template("join.html", context=context)


@get("/connect/done")
async def done(request: Asked, parts: Parts, reader: WhoReads, show: Shows, of: Text = None) -> Response[Any]:
    """Who connected, what was not granted, and how far the first sync is; can be reloaded."""
    claimed = read_progress(parts.options, parts.clock.now().timestamp(), of or "")
    athlete_id = reader.athlete_id if claimed is None else claimed

    async def load() -> dict[str, Any]:
        athlete = await _connected(parts, athlete_id)
        is_own = reader.athlete_id == athlete.id
        # The address is open to anyone, also where only the machine itself is shown the pages.
        may = is_own or (reader.is_operator and sees(parts.options, reader, athlete))
        return {
            "athlete": athlete,
            "is_own": is_own,
            "may": may,
            "arrived": await parts.queries.calendar.recently_fetched(athlete.id) if may else [],
            "readable": can_read_activities(frozenset(athlete.scopes)),
            "missing": [scope for scope in scopes(athlete.scopes) if not scope.granted],
            "days": parts.athletes.initial_sync_days,
        }

    return await show.page(request, reader, "connected", "Connected", load)


async def _connected(parts: WebParts, athlete_id: int | None) -> Athlete:
    athlete = None if athlete_id is None else await parts.queries.athletes.get(athlete_id)
    if athlete is None or athlete.status == "deauthorized":
        raise NotFound("this link has expired; the sync goes on")
    return athlete


def sign_progress(parts: WebParts, athlete_id: int) -> str:
    """The address of one athlete's progress, good for PROGRESS_FOR."""
    until = int((parts.clock.now() + PROGRESS_FOR).timestamp())
    claim = f"{athlete_id}.{until}"
    return f"{claim}.{sign(parts.options, 'progress', claim)}"


def read_progress(options: WebOptions, now: float, address: str) -> int | None:
    """Whose address this is; None when it is not ours, or too old."""
    claim, _, signature = address.rpartition(".")
    # Without a client secret the session key is no secret, and no address was ever given out.
    if not options.strava_configured or not hmac.compare_digest(
        signature.encode(), sign(options, "progress", claim).encode()
    ):
        return None
    athlete_id, _, until = claim.partition(".")
    return int(athlete_id) if int(until) > now else None
