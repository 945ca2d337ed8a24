"""The pages: each says what it shows, and Show puts it together."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import segno
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation
from litestar.response import ServerSentEvent

from ... import __version__
from ...domain.athlete import REQUESTED_SCOPES
from ...domain.event import EventStatus, redacted
from ...domain.wording import count
from ...errors import NotFound
from ...queries.athletes import AthleteFilter
from ...queries.dashboard import Overview
from ...services.conditions import Condition, Remedy, conditions, problems, report_conditions
from ..auth.access import member, operator, sees
from ..auth.viewer import WhoReads
from ..context import Parts, WebOptions
from ..rendering.live import Live
from ..rendering.pages import Show

Asked = Request[Any, Any, Any]
Shows = NamedDependency[SkipValidation[Show]]
LivePages = NamedDependency[SkipValidation[Live]]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]
IdleDays = Annotated[int | None, QueryParameter(ge=1, le=36_500)]
Quiet = Annotated[bool | None, QueryParameter()]
OfStatus = Annotated[EventStatus | None, QueryParameter()]
AthleteId = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]
EventId = Annotated[UUID, PathParameter()]

A_PAGE = 50
A_PAGE_OF_ATHLETES = 25
IDLE_DAYS = 90
"""Whom the page offers to show alone: a seat at Strava is held for nothing."""

STATUSES = ("pending", "processing", "completed", "failed", "ignored")
SCOPES = tuple(scope for scope in REQUESTED_SCOPES if scope != "read")


@get("/")
async def overview(request: Asked, parts: Parts, reader: WhoReads, show: Shows) -> Response[Any]:
    async def load() -> dict[str, Any]:
        front = await parts.queries.dashboard.overview()
        found = problems(conditions(front.pulse, strava_configured=parts.options.strava_configured))
        steps = setup(front, parts.options)
        if not front.active and not any(check.level == "bad" for check in found):
            left = sum(not step[0] for step in steps)
            said, found = (f"Welcome: {count(left, 'step')} to go.", "live"), []
        else:
            said = sentence(front, found)
        return {"front": front, "sentence": said, "troubles": found, "steps": steps}

    return await show.page(request, reader, "overview", "Overview", load)


def sentence(front: Overview, found: list[Condition]) -> tuple[str, str]:
    """One sentence that is true, and its level."""
    if found:
        return found[0].text, found[0].level
    people = count(front.active, "athlete")
    if front.complete < front.active:
        return f"{front.complete} of {people} complete; the others are being fetched.", "live"
    return f"All {people} complete" if front.active > 1 else "Your athlete is complete", "good"


def setup(front: Overview, options: WebOptions) -> list[tuple[bool, str, str, Remedy | None]]:
    """The setup checklist: done, what, how, what does it. Empty when all is done."""
    pulse = front.pulse
    access = "Only people at this machine see these pages; ADMIN_PASSWORD in .env lets you in from elsewhere."
    steps = [
        (
            options.strava_configured,
            "A Strava application",
            "Create one there, put STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET into .env, and restart.",
            Remedy("Open Strava's settings", "https://www.strava.com/settings/api"),
        ),
        (bool(options.admin_password) or options.is_local, "Who may look", access, None),
        (
            pulse.subscription is not None and pulse.subscription.active,
            "Events from Strava",
            "With a push subscription activities come within seconds; without, within a quarter of an hour.",
            Remedy("Subscribe to events", post="/actions/subscription"),
        ),
        (
            bool(pulse.athletes.get("active")),
            "A first athlete",
            "Connect yourself, or send someone the link.",
            Remedy("Connect with Strava", "/join"),
        ),
        (
            bool(front.latest),
            "A first activity",
            "It comes by itself: the last days are fetched as soon as somebody is connected.",
            None,
        ),
    ]
    return [] if all(done for done, *_ in steps) else steps


@get("/live")
async def live(pages: LivePages) -> Response[Any]:
    """Tells open pages that something changed."""
    return ServerSentEvent(pages.follow(), retry_duration=2000)


@get("/athletes")
async def athletes(
    request: Asked,
    parts: Parts,
    reader: WhoReads,
    show: Shows,
    idle_days: IdleDays = None,
    quiet: Quiet = None,
    cursor: Cursor = None,
) -> Response[Any]:
    which, asked = AthleteFilter(idle_days, quiet), request.query_params

    async def load() -> dict[str, Any]:
        page = await parts.queries.athletes.page(A_PAGE_OF_ATHLETES, cursor, which)
        connected = [one for one in page.items if one.status != "deauthorized"]
        return {
            "pulse": await parts.queries.status.pulse(),
            "athletes": connected,
            "which": which,
            "filter": urlencode({name: asked[name] for name in ("idle_days", "quiet") if name in asked}),
            "idle_days": idle_days or IDLE_DAYS,
            "missing": {one.id: [s for s in SCOPES if s not in one.scopes] for one in connected},
            "next_cursor": page.next_cursor,
            "receipts": (await parts.queries.athletes.receipts())[:10] if cursor is None else [],
            "qr": qr(parts.options.join_url),
        }

    return await show.page(request, reader, "athletes", "Athletes", load)


@lru_cache(maxsize=8)
def qr(address: str) -> str:
    """A QR code as SVG; black on white whatever the theme, as cameras want it."""
    code = segno.make(address, error="m")
    return code.svg_inline(
        omitsize=True, border=3, light="#fff", dark="#000", svgclass="qr", title=f"QR code: {address}"
    )


@get("/athletes/{athlete_id:int}/disconnect")
async def leaving(
    request: Asked, parts: Parts, reader: WhoReads, show: Shows, athlete_id: AthleteId
) -> Response[Any]:
    """What disconnecting will do, before it does it."""

    async def load() -> dict[str, Any]:
        leaves = await parts.queries.athletes.disconnect_preview(athlete_id)
        if leaves.athlete.status == "deauthorized":
            raise NotFound(f"athlete {athlete_id} is not connected")
        return {
            "leaving": leaves,
            "action": f"/actions/athletes/{athlete_id}/disconnect",
            "back": "/athletes",
            "is_own": False,
        }

    return await show.page(request, reader, "disconnect", "Disconnect", load, is_live=False)


@get("/events")
async def events(
    request: Asked,
    parts: Parts,
    reader: WhoReads,
    show: Shows,
    status: OfStatus = None,
    cursor: Cursor = None,
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        page = await parts.queries.events.summaries(status, cursor, A_PAGE)
        return {
            "events": page.items,
            "next_cursor": page.next_cursor,
            "status": status,
            "statuses": STATUSES,
            "first": cursor is None,
        }

    return await show.page(request, reader, "events", "Events", load)


@get("/events/{event_id:uuid}")
async def event(
    request: Asked, parts: Parts, reader: WhoReads, show: Shows, event_id: EventId
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        told = await parts.queries.events.summary(str(event_id))
        if told is None:
            raise NotFound(f"there is no event {event_id}")
        raw = bytes(told.event.event_data).decode()
        is_own = parts.options.is_local or reader.athlete_id == told.event.owner_id
        open_to = is_own or (told.activity is not None and sees(parts.options, reader, told.activity))
        return {"told": told, "raw": pretty(raw if open_to else redacted(raw)), "is_redacted": not open_to}

    return await show.page(request, reader, "event", "Event", load)


def pretty(text: str) -> str:
    return msgspec.json.format(text, indent=2)


@get("/failures")
async def failures(request: Asked, parts: Parts, reader: WhoReads, show: Shows) -> Response[Any]:
    async def load() -> dict[str, Any]:
        questions = await parts.queries.conflicts.open()
        return {
            "found": await parts.queries.jobs.failure_groups(),
            "questions": questions,
            "names": await parts.queries.athletes.names(one.athlete_id for one in questions),
        }

    return await show.page(request, reader, "failures", "Failures", load)


@get("/health")
async def health(request: Asked, parts: Parts, reader: WhoReads, show: Shows) -> Response[Any]:
    async def load() -> dict[str, Any]:
        vitals = await parts.queries.status.health_report()
        found = report_conditions(vitals, strava_configured=parts.options.strava_configured)
        return {
            "vitals": vitals,
            "checks": found,
            "troubles": problems(found),
            "version": __version__,
            "reconnect": f"{parts.options.connect_url}?force=1",
        }

    return await show.page(request, reader, "health", "Health", load)


def pages_router() -> Router:
    return Router(
        "/",
        route_handlers=[overview, athletes, leaving, events, event, failures, health],
        opt=operator(),
        include_in_schema=False,
    )


def live_router() -> Router:
    return Router("/", route_handlers=[live], opt=member(), include_in_schema=False)
