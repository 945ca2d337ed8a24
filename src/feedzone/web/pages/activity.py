"""The page of an activity: track, curves, details and history.

Operators always see the sync status of an activity; its contents only with the athlete's consent
(access.can_view).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import Response, Router, get, post

from ...domain.curves import AXES, Curves
from ...domain.track import Point, decode_polyline
from ...errors import InvalidInput, NotFound
from ...queries.activity_history import ActivityHistory
from ...services.conditions import spent_windows
from ..auth.access import can_view, member
from ..auth.disclosure import disclosed
from ..auth.viewer import CurrentViewer, Viewer
from ..context import ActivityId, HttpRequest, Parts, WebParts
from ..rendering import activity_stats
from ..rendering.activity_timeline import timeline
from ..rendering.charts import Plot, plot, ranges, track_svg
from ..rendering.flash import Notice, respond
from ..rendering.page_renderer import Renderer
from ..rendering.units import measures


async def _file(parts: WebParts, viewer: Viewer, activity_id: int) -> ActivityHistory:
    """Raise NotFound also for another athlete's activity: its existence is private, too."""
    file = await parts.queries.activity_history.get(activity_id)
    if file is None or not (viewer.is_operator or viewer.athlete_id == file.athlete_id):
        raise NotFound(f"activity {activity_id} does not exist")
    return file


@get("/activities/{activity_id:int}")
async def activity(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, renderer: Renderer, activity_id: ActivityId
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        file = await _file(parts, viewer, activity_id)
        is_visible = can_view(parts.options, viewer, file)
        activity = file.activity
        units = measures(viewer.units, activity.sport_type if is_visible and activity else None)
        common = {
            "file": file,
            "is_visible": is_visible,
            "is_own": viewer.athlete_id == file.athlete_id,
            "timeline": timeline(
                disclosed(file, partial(can_view, parts.options, viewer)),
                units,
                parts.clock.now(),
                show_values=is_visible,
            ),
            "next_fetch": min((job.due_at for job in file.jobs if job.state == "queued"), default=None),
        }
        if activity is None or not is_visible or file.is_deleted:
            return common | {"activity": None}
        return common | await _contents(parts, viewer, file)

    return await renderer.page(request, viewer, "activity", "Activity", load, bundle="activity")


async def _contents(parts: WebParts, viewer: Viewer, file: ActivityHistory) -> dict[str, Any]:
    activity = file.activity
    assert activity is not None
    units = measures(viewer.units, activity.sport_type)
    drawn, problem = await _drawn(parts, file.id)
    track = _track(file, drawn)
    version = file.streams.version if drawn is not None and file.streams else "none"
    return {
        "activity": activity,
        "started": activity_stats.started(activity),
        "headline": activity_stats.headline(activity, units),
        "details": activity_stats.details(activity, units),
        "about": activity_stats.about(file, activity),
        "laps": activity_stats.laps(file, units),
        "splits": activity_stats.splits(file, units, viewer.units),
        "units": units,
        "track_svg": track_svg(track),
        "ranges": ranges(drawn, units, activity) if drawn is not None else [],
        "axes": [name for name in AXES if drawn is not None and name in drawn.axes],
        "version": f"{version}-{len(track)}-{viewer.units}",
        "problem": problem,
    }


async def _drawn(parts: WebParts, activity_id: int) -> tuple[Curves | None, str]:
    """Return the curves, or the reason why the streams are unreadable: the page works without them."""
    try:
        return await parts.queries.activity_history.curves(activity_id), ""
    except InvalidInput as problem:
        return None, str(problem)


def _track(file: ActivityHistory, drawn: Curves | None) -> list[Point]:
    """Return the recorded track, else the simplified one in Strava's summary."""
    recorded = [point for point in drawn.track if point] if drawn is not None else []
    summary = file.activity.summary_polyline if file.activity else None
    return recorded or decode_polyline(file.parts.polyline or summary)


@get("/activities/{activity_id:int}/curves")
async def curves(parts: Parts, viewer: CurrentViewer, activity_id: ActivityId) -> Plot:
    """Return the data that the page's script draws, in the viewer's units."""
    file = await _file(parts, viewer, activity_id)
    if not can_view(parts.options, viewer, file) or file.activity is None or file.is_deleted:
        raise NotFound(f"activity {activity_id} has no curves")
    drawn = await parts.queries.activity_history.curves(activity_id)
    curves = plot(drawn or Curves(0, {}, {}, []), measures(viewer.units, file.activity.sport_type))
    return curves if any(curves.track) else Plot(curves.axes, curves.curves, list(_track(file, drawn)))


@post("/activities/{activity_id:int}/refresh", status_code=200)
async def refresh(
    request: HttpRequest, parts: Parts, viewer: CurrentViewer, activity_id: ActivityId
) -> Response[Any]:
    """Queue a fetch and respond at once. Only webhook events go first; the page shows the result live."""
    file = await _file(parts, viewer, activity_id)
    back = f"/activities/{activity_id}"
    if file.athlete_status != "active":
        text = f"Cannot fetch: {file.athlete} must reconnect first. Nothing was changed."
        return respond(request, Notice(text, "warn"), back)
    await parts.athletes.refresh_activity(activity_id, by_athlete=not viewer.is_operator)
    text = "Fetching from Strava. The page updates automatically."
    if spent_windows(await parts.queries.quota.windows()):
        text = "Queued: the rate limit is reached. The fetch starts automatically when the limit resets."
    return respond(request, Notice(text), back)


def activity_router() -> Router:
    return Router("/", route_handlers=[activity, curves, refresh], opt=member(), include_in_schema=False)
