"""The page of an athlete: for the operator, who sees of it what the athlete agreed to (own.py: their own)."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import PathParameter, QueryParameter, SkipValidation

from ...errors import InvalidInput
from ...queries.athletes import Athlete
from ...queries.calendar import YEARS, CalendarFilter
from ..auth.access import operator, sees
from ..auth.scopes import scopes
from ..auth.viewer import Viewer, WhoReads
from ..context import Parts, WebParts
from ..rendering.pages import Show

Asked = Request[Any, Any, Any]
Shows = NamedDependency[SkipValidation[Show]]
AthleteId = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]
DiaryWanted = NamedDependency[SkipValidation[CalendarFilter]]
"""How a handler asks for what a reader looks for: an argument `wanted: DiaryWanted`."""

Year = Annotated[int | None, QueryParameter(ge=YEARS[0], le=YEARS[1])]
Text = Annotated[str, QueryParameter(max_length=100)]
# `state` is a word of Litestar's: as an argument it would be the application's.
OfState = Annotated[Literal["", "synced", "pending", "failed"], QueryParameter(name="state")]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]


def wanted(
    year: Year = None,
    on: Text = "",
    q: Text = "",
    sport: Text = "",
    state_: OfState = "",
    cursor: Cursor = None,
) -> CalendarFilter:
    """What stands in the address: `on` is a month (2026-11) or a day (2026-11-03)."""
    # PostgreSQL refuses U+0000 even in a question; nothing has such a name.
    search, sport_type = (text.replace("\x00", "").strip() for text in (q, sport))
    return CalendarFilter(
        year, _between(on) if on else None, search, sport_type or None, state_ or None, cursor
    )


def _between(on: str) -> tuple[date, date]:
    parts = [int(part) for part in on.split("-")] if re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", on) else []
    try:
        if parts and YEARS[0] <= parts[0] <= YEARS[1]:
            year, month, *day = parts
            first = date(year, month, *(day or [1]))
            return first, first if day else date(year, month, monthrange(year, month)[1])
    except ValueError:
        pass
    raise InvalidInput("on: takes a month (2026-11) or a day (2026-11-03)")


class Links:
    """Addresses of the same page with something else looked for."""

    def __init__(self, base: str, query: dict[str, str]) -> None:
        self.base = base
        self.query = {name: value for name, value in query.items() if value and name != "cursor"}

    def to(self, anchor: str = "", **changes: object) -> str:
        """`changes`: None leaves something out."""
        query = {name: value for name, value in {**self.query, **changes}.items() if value is not None}
        return f"{self.base}{'?' if query else ''}{urlencode(query)}{'#' if anchor else ''}{anchor}"


async def page_of(
    request: Asked, parts: WebParts, reader: Viewer, athlete: Athlete, wanted: CalendarFilter, base: str
) -> dict[str, Any]:
    """What the page shows of an athlete: to who may see it, the diary; to others, how many are where."""
    shown: dict[str, Any] = {
        "athlete": athlete,
        "scopes": scopes(athlete.scopes),
        "base": base,
        "diary": None,
        "by_state": {},
        "receipts": [],
    }
    if athlete.status == "deauthorized":
        shown["receipts"] = (await parts.queries.athletes.receipts(athlete.id))[:3]
    elif not sees(parts.options, reader, athlete):
        shown["by_state"] = await parts.queries.activities.counts_by_status(athlete.id)
    else:
        today = parts.clock.now().astimezone(reader.tz).date()
        query = dict(request.query_params)
        shown |= {
            "diary": await parts.queries.calendar.get(athlete.id, wanted, today),
            "wanted": wanted,
            "today": today,
            "links": Links(base, query),
            "on": query.get("on", ""),
        }
    return shown


@get("/athletes/{athlete_id:int}")
async def athlete(
    request: Asked, parts: Parts, reader: WhoReads, show: Shows, athlete_id: AthleteId, wanted: DiaryWanted
) -> Response[Any]:
    name = (await parts.queries.athletes.names([athlete_id])).get(athlete_id, "Athlete")

    async def load() -> dict[str, Any]:
        one = await parts.queries.athletes.get(athlete_id)  # raises NotFound
        return await page_of(request, parts, reader, one, wanted, f"/athletes/{athlete_id}") | {
            "seats": await parts.queries.status.seats(),
            "reconnect": f"{parts.options.connect_url}?force=1",
        }

    return await show.page(request, reader, "athlete", name, load)


def athlete_router() -> Router:
    return Router(
        "/",
        route_handlers=[athlete],
        opt=operator(),
        dependencies=looking(),
        include_in_schema=False,
    )


def looking() -> dict[str, Provide]:
    """What a router needs whose handlers ask for `wanted`."""
    return {"wanted": Provide(wanted, sync_to_thread=False)}
