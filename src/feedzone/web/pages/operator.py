"""The operator's pages. Each handler loads its page's context; PageRenderer renders it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache, partial
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import segno
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation
from litestar.response import ServerSentEvent

from ... import __version__
from ...domain.athlete import REQUESTED_SCOPES
from ...domain.event import EventStatus
from ...domain.wording import count
from ...errors import NotFound
from ...queries.athletes import AthleteFilter
from ...queries.dashboard import Overview
from ...queries.status import Pulse
from ...services.conditions import (
    Condition,
    Remedy,
    conditions,
    problems,
    report_conditions,
    spent_windows,
)
from ..auth.access import can_view, member, operator
from ..auth.disclosure import disclosed, may_view_event, raw_text
from ..auth.viewer import CurrentViewer
from ..context import AthleteId, HttpRequest, Parts, WebOptions
from ..rendering.live import Live
from ..rendering.page_renderer import Renderer

LiveUpdates = NamedDependency[SkipValidation[Live]]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]
IdleDays = Annotated[int | None, QueryParameter(ge=1, le=36_500)]
Quiet = Annotated[bool | None, QueryParameter()]
OfStatus = Annotated[EventStatus | None, QueryParameter()]
EventId = Annotated[UUID, PathParameter()]

EVENTS_PER_PAGE = 50
ATHLETES_PER_PAGE = 25
IDLE_DAYS = 90
"""The default of the filter for idle athletes: each one occupies a seat at Strava for nothing."""

STATUSES = ("pending", "processing", "completed", "failed", "ignored")
SCOPES = tuple(scope for scope in REQUESTED_SCOPES if scope != "read")


@get("/")
async def overview(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        front = await parts.queries.dashboard.overview()
        shown = problems(conditions(front.pulse, strava_configured=parts.options.strava_configured))
        steps = setup_steps(front, parts.options)
        if not front.active and not any(condition.level == "bad" for condition in shown):
            left = sum(not step.is_done for step in steps)
            summary, shown = (f"Welcome: {count(left, 'step')} left.", "live"), []
        else:
            summary = status_summary(front, shown)
        return {
            "front": front,
            "summary": summary,
            "problems": shown,
            "steps": steps,
            "limit_resets_at": limit_resets_at(front.pulse),
        }

    return await renderer.page(request, viewer, "overview", "Overview", load)


def status_summary(front: Overview, shown: list[Condition]) -> tuple[str, str]:
    """Return the overview's headline and its level."""
    if shown:
        return shown[0].text, shown[0].level
    athletes = count(front.active, "athlete")
    if front.complete < front.active:
        return f"{front.complete} of {athletes} synced, the others are syncing.", "live"
    return f"All {athletes} synced" if front.active > 1 else "Your athlete is synced", "good"


def limit_resets_at(pulse: Pulse) -> datetime | None:
    """Return the end of the rate limit windows that are used up; None if there are requests left."""
    return max((window.ends_at for window in spent_windows(pulse.quota)), default=None)


class SetupStep(NamedTuple):
    """A step of the setup. `remedy`: the link or form that does it."""

    is_done: bool
    title: str
    hint: str
    remedy: Remedy | None = None


def setup_steps(front: Overview, options: WebOptions) -> list[SetupStep]:
    """Return the setup checklist; empty when every step is done."""
    pulse = front.pulse
    steps = [
        SetupStep(
            options.strava_configured,
            "Strava application",
            "Create one at Strava, add STRAVA_CLIENT_ID and STRAVA_CLIENT_SECRET to .env, and restart.",
            Remedy("Open Strava settings", "https://www.strava.com/settings/api"),
        ),
        SetupStep(
            bool(options.admin_password) or options.is_local,
            "Access to these pages",
            "Available only on this machine. Set ADMIN_PASSWORD in .env to sign in from other machines.",
        ),
        SetupStep(
            pulse.subscription is not None and pulse.subscription.active,
            "Webhooks from Strava",
            "With webhooks, activities arrive within seconds; without, within 15 minutes.",
            Remedy("Subscribe to webhooks", post="/actions/subscription"),
        ),
        SetupStep(
            bool(pulse.athletes.get("active")),
            "First athlete",
            "Connect your own account or send the link to an athlete.",
            Remedy("Connect with Strava", "/join"),
        ),
        SetupStep(
            bool(front.latest),
            "First activity",
            "Starts automatically: recent activities are synced as soon as an athlete connects.",
        ),
    ]
    return [] if all(step.is_done for step in steps) else steps


@get("/live")
async def live_stream(live: LiveUpdates) -> Response[Any]:
    """Notify open pages of changes."""
    return ServerSentEvent(live.follow(), retry_duration=2000)


@get("/athletes")
async def athletes(
    request: HttpRequest,
    parts: Parts,
    viewer: CurrentViewer,
    renderer: Renderer,
    idle_days: IdleDays = None,
    quiet: Quiet = None,
    cursor: Cursor = None,
) -> Response[Any]:
    athlete_filter, query = AthleteFilter(idle_days, quiet), request.query_params

    async def load() -> dict[str, Any]:
        pulse = await parts.queries.status.pulse()
        page = await parts.queries.athletes.page(ATHLETES_PER_PAGE, cursor, athlete_filter)
        connected = [athlete for athlete in page.items if athlete.status != "deauthorized"]
        return {
            "pulse": pulse,
            "limit_resets_at": limit_resets_at(pulse),
            "athletes": connected,
            "athlete_filter": athlete_filter,
            "filter": urlencode({name: query[name] for name in ("idle_days", "quiet") if name in query}),
            "idle_days": idle_days or IDLE_DAYS,
            "missing": {
                athlete.id: [scope for scope in SCOPES if scope not in athlete.scopes]
                for athlete in connected
            },
            "next_cursor": page.next_cursor,
            "receipts": (await parts.queries.athletes.receipts())[:10] if cursor is None else [],
            "qr": qr(parts.options.join_url),
        }

    return await renderer.page(request, viewer, "athletes", "Athletes", load)


@lru_cache(maxsize=8)
def qr(address: str) -> str:
    """Return a QR code as SVG, black on white in every theme, as cameras need it."""
    code = segno.make(address, error="m")
    return code.svg_inline(
        omitsize=True, border=3, light="#fff", dark="#000", svgclass="qr", title=f"QR code: {address}"
    )


@get("/athletes/{athlete_id:int}/disconnect")
async def confirm_disconnect(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer, athlete_id: AthleteId
) -> Response[Any]:
    """Show what disconnecting deletes, and ask for confirmation."""

    async def load() -> dict[str, Any]:
        preview = await parts.queries.athletes.disconnect_preview(athlete_id)
        if preview.athlete.status == "deauthorized":
            raise NotFound(f"athlete {athlete_id} is not connected")
        return {
            "preview": preview,
            "action": f"/actions/athletes/{athlete_id}/disconnect",
            "back": "/athletes",
            "is_own": False,
        }

    return await renderer.page(request, viewer, "disconnect", "Disconnect", load, is_live=False)


@get("/events")
async def events(
    request: HttpRequest,
    parts: Parts,
    viewer: CurrentViewer,
    renderer: Renderer,
    status: OfStatus = None,
    cursor: Cursor = None,
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        page = await parts.queries.events.summaries(status, cursor, EVENTS_PER_PAGE)
        return {
            "events": page.items,
            "next_cursor": page.next_cursor,
            "status": status,
            "statuses": STATUSES,
            "first": cursor is None,
        }

    return await renderer.page(request, viewer, "events", "Events", load)


@get("/events/{event_id:uuid}")
async def event(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer, event_id: EventId
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        summary = await parts.queries.events.summary(str(event_id))
        if summary is None:
            raise NotFound(f"event {event_id} does not exist")
        may_view = partial(can_view, parts.options, viewer)
        return {
            "summary": summary,
            "raw": raw_text(disclosed(summary, may_view).event),
            "is_redacted": not may_view_event(summary, may_view),
        }

    return await renderer.page(request, viewer, "event", "Event", load)


@get("/failures")
async def failures(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        conflicts = await parts.queries.conflicts.open()
        return {
            "groups": await parts.queries.jobs.failure_groups(),
            "conflicts": conflicts,
            "names": await parts.queries.athletes.names(conflict.athlete_id for conflict in conflicts),
        }

    return await renderer.page(request, viewer, "failures", "Failures", load)


@get("/health")
async def health(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        vitals = await parts.queries.status.health_report()
        checks = report_conditions(vitals, strava_configured=parts.options.strava_configured)
        return {
            "vitals": vitals,
            "checks": checks,
            "problems": problems(checks),
            "version": __version__,
            "reconnect": f"{parts.options.connect_url}?force=1",
        }

    return await renderer.page(request, viewer, "health", "Health", load)


def pages_router() -> Router:
    return Router(
        "/",
        route_handlers=[overview, athletes, confirm_disconnect, events, event, failures, health],
        opt=operator(),
        include_in_schema=False,
    )


def live_router() -> Router:
    return Router("/", route_handlers=[live_stream], opt=member(), include_in_schema=False)
