"""The page of an athlete for the operator.

Without the athlete's consent it shows only the sync status. The athlete's own page is in me.py.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from litestar import Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter, SkipValidation

from ...errors import InvalidInput
from ...queries.athletes import Athlete
from ...queries.calendar import YEARS, CalendarFilter
from ..auth.access import can_view, operator
from ..auth.scopes import scopes
from ..auth.viewer import CurrentViewer, Viewer
from ..context import AthleteId, HttpRequest, Parts, WebParts
from ..rendering.page_renderer import Renderer

RequestedFilter = NamedDependency[SkipValidation[CalendarFilter]]
"""How a handler gets the filter in the address: an argument `calendar_filter: RequestedFilter`."""

Year = Annotated[int | None, QueryParameter(ge=YEARS[0], le=YEARS[1])]
Text = Annotated[str, QueryParameter(max_length=100)]
# Litestar reserves the argument name `state` for the application's.
OfState = Annotated[Literal["", "synced", "pending", "failed"], QueryParameter(name="state")]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]


def calendar_filter(
    year: Year = None,
    on: Text = "",
    q: Text = "",
    sport: Text = "",
    state_: OfState = "",
    cursor: Cursor = None,
) -> CalendarFilter:
    """Return the filter in the address: `on` is a month (2026-11) or a day (2026-11-03)."""
    # PostgreSQL rejects U+0000 even as a parameter, and no name contains it.
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
    raise InvalidInput("on: must be a month (2026-11) or a day (2026-11-03)")


class Links:
    """Builds addresses of the same page with another filter."""

    def __init__(self, base: str, query: dict[str, str]) -> None:
        self.base = base
        self.query = {name: value for name, value in query.items() if value and name != "cursor"}

    def to(self, anchor: str = "", **changes: object) -> str:
        """Return the address with `changes` to the query; None removes a parameter."""
        query = {name: value for name, value in {**self.query, **changes}.items() if value is not None}
        return f"{self.base}{'?' if query else ''}{urlencode(query)}{'#' if anchor else ''}{anchor}"


async def athlete_context(
    request: HttpRequest,
    parts: WebParts,
    viewer: Viewer,
    athlete: Athlete,
    calendar_filter: CalendarFilter,
    base: str,
) -> dict[str, Any]:
    """Return the page's context: the calendar if the viewer may see it, else only counts by status."""
    context: dict[str, Any] = {
        "athlete": athlete,
        "scopes": scopes(athlete.scopes),
        "base": base,
        "diary": None,
        "by_state": {},
        "receipts": [],
    }
    if athlete.status == "deauthorized":
        context["receipts"] = (await parts.queries.athletes.receipts(athlete.id))[:3]
    elif not can_view(parts.options, viewer, athlete):
        context["by_state"] = await parts.queries.activities.counts_by_status(athlete.id)
    else:
        today = parts.clock.now().astimezone(viewer.tz).date()
        query = dict(request.query_params)
        context |= {
            "diary": await parts.queries.calendar.get(athlete.id, calendar_filter, today),
            "calendar_filter": calendar_filter,
            "today": today,
            "links": Links(base, query),
            "on": query.get("on", ""),
        }
    return context


@get("/athletes/{athlete_id:int}")
async def athlete(
    request: HttpRequest,
    parts: Parts,
    viewer: CurrentViewer,
    renderer: Renderer,
    athlete_id: AthleteId,
    calendar_filter: RequestedFilter,
) -> Response[Any]:
    name = (await parts.queries.athletes.names([athlete_id])).get(athlete_id, "Athlete")

    async def load() -> dict[str, Any]:
        profile = await parts.queries.athletes.get(athlete_id)  # raises NotFound
        return await athlete_context(
            request, parts, viewer, profile, calendar_filter, f"/athletes/{athlete_id}"
        ) | {
            "seats": await parts.queries.status.seats(),
            "reconnect": f"{parts.options.connect_url}?force=1",
        }

    return await renderer.page(request, viewer, "athlete", name, load)


def athlete_router() -> Router:
    return Router(
        "/",
        route_handlers=[athlete],
        opt=operator(),
        dependencies=filter_dependency(),
        include_in_schema=False,
    )


def filter_dependency() -> dict[str, Provide]:
    """Return the dependency of routers with handlers that take a `calendar_filter`."""
    return {"calendar_filter": Provide(calendar_filter, sync_to_thread=False)}
