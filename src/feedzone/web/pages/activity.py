"""The page of an activity: its track and curves, what is known of it, and everything that became of it.

An athlete's data is for that athlete (access.sees). Who runs the installation always sees how an activity
fares, and of what it says nothing without the athlete's consent.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, Router, get, post
from litestar.params import PathParameter

from ...domain.curves import AXES, Curves
from ...domain.track import Point, decode_polyline
from ...errors import InvalidInput, NotFound
from ...queries.activity_history import ActivityHistory
from ...services.conditions import spent_windows
from ..auth.access import member, sees
from ..auth.viewer import Viewer, WhoReads
from ..context import Parts, WebParts
from ..rendering import activity_stats
from ..rendering.activity_timeline import story
from ..rendering.charts import Plot, plot, ranges, sketch
from ..rendering.flash import Notice, told
from ..rendering.units import measures
from .operator import Shows

Asked = Request[Any, Any, Any]
ActivityId = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]


async def _file(parts: WebParts, reader: Viewer, activity_id: int) -> ActivityHistory:
    """Raises NotFound, also for what is somebody else's: whether it exists is nobody's business."""
    file = await parts.queries.activity_history.get(activity_id)
    if file is None or not (reader.is_operator or reader.athlete_id == file.athlete_id):
        raise NotFound(f"there is no activity {activity_id} here")
    return file


@get("/activities/{activity_id:int}")
async def activity(
    request: Asked, parts: Parts, reader: WhoReads, show: Shows, activity_id: ActivityId
) -> Response[Any]:
    async def load() -> dict[str, Any]:
        file = await _file(parts, reader, activity_id)
        open_to = sees(parts.options, reader, file)
        one = file.activity
        told = measures(reader.units, one.sport_type if open_to and one else None)
        common = {
            "file": file,
            "open_to": open_to,
            "is_own": reader.athlete_id == file.athlete_id,
            "story": story(file, told, parts.clock.now(), open_to=open_to),
            "next_look": min((job.due_at for job in file.jobs if job.state == "queued"), default=None),
        }
        if one is None or not open_to or file.is_deleted:
            return common | {"one": None}
        return common | await _contents(parts, reader, file)

    return await show.page(request, reader, "activity", "Activity", load, bundle="activity")


async def _contents(parts: WebParts, reader: Viewer, file: ActivityHistory) -> dict[str, Any]:
    one = file.activity
    assert one is not None
    told = measures(reader.units, one.sport_type)
    drawn, problem = await _drawn(parts, file.id)
    track = _track(file, drawn)
    version = file.streams.version if drawn is not None and file.streams else "none"
    return {
        "one": one,
        "started": activity_stats.started(one),
        "headline": activity_stats.headline(one, told),
        "figures": activity_stats.figures(one, told),
        "about": activity_stats.about(file, one),
        "laps": activity_stats.laps(file, told),
        "splits": activity_stats.splits(file, told, reader.units),
        "units": told,
        "sketch": sketch(track),
        "ranges": ranges(drawn, told, one) if drawn is not None else [],
        "axes": [name for name in AXES if drawn is not None and name in drawn.axes],
        "version": f"{version}-{len(track)}-{reader.units}",
        "problem": problem,
    }


async def _drawn(parts: WebParts, activity_id: int) -> tuple[Curves | None, str]:
    """Streams that cannot be read are said to be so; the page is there all the same."""
    try:
        return await parts.queries.activity_history.curves(activity_id), ""
    except InvalidInput as problem:
        return None, str(problem)


def _track(file: ActivityHistory, drawn: Curves | None) -> list[Point]:
    """Where it led: as recorded, else as Strava sketched it."""
    recorded = [point for point in drawn.track if point] if drawn is not None else []
    summary = file.activity.summary_polyline if file.activity else None
    return recorded or decode_polyline(file.parts.polyline or summary)


@get("/activities/{activity_id:int}/curves")
async def curves(parts: Parts, reader: WhoReads, activity_id: ActivityId) -> Plot:
    """What the page's script draws, in the reader's units."""
    file = await _file(parts, reader, activity_id)
    if not sees(parts.options, reader, file) or file.activity is None or file.is_deleted:
        raise NotFound(f"there are no curves of activity {activity_id} here")
    drawn = await parts.queries.activity_history.curves(activity_id)
    found = plot(drawn or Curves(0, {}, {}, []), measures(reader.units, file.activity.sport_type))
    return found if any(found.track) else Plot(found.axes, found.curves, list(_track(file, drawn)))


@post("/activities/{activity_id:int}/refresh", status_code=200)
async def refresh(request: Asked, parts: Parts, reader: WhoReads, activity_id: ActivityId) -> Response[Any]:
    """Answers at once: the job goes before all but events, and the page shows what it brings."""
    file = await _file(parts, reader, activity_id)
    back = f"/activities/{activity_id}"
    if file.athlete_status != "active":
        text = f"Strava cannot be asked: {file.athlete} must connect again first. Nothing was changed."
        return told(request, Notice(text, "warn"), back)
    await parts.athletes.refresh_activity(activity_id)
    what = "whether it is back" if file.is_deleted else "for it"
    spent = spent_windows(await parts.queries.quota.windows())
    text = f"Strava is asked {what} now; what comes is shown here by itself."
    if spent:
        text = f"The rate limit is spent: Strava is asked {what} as soon as there is room, by itself."
    return told(request, Notice(text), back)


def activity_router() -> Router:
    return Router("/", route_handlers=[activity, curves, refresh], opt=member(), include_in_schema=False)
