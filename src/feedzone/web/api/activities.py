"""Activities, their streams and photos, and the change feed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import MediaType, Response, get, post
from litestar.params import QueryParameter
from litestar.response import Stream

from ...queries.activities import ActivityDetail, ActivityFilter, ActivityPage, ChangePage, Photos, Streams
from ..context import LARGEST_ID, ActivityId, Parts
from ..parsing import parse_instant
from .parameters import LIST, ONE, Accepted, Cursor, Instant, Limit

AthleteFilterId = Annotated[
    int | None, QueryParameter(ge=0, le=LARGEST_ID, description="only this athlete's")
]
SportType = Annotated[str | None, QueryParameter(max_length=100, description="only this sport_type")]
Visibility = Annotated[
    str | None,
    QueryParameter(max_length=100, description="only this one: everyone, followers_only, only_me"),
]
UpdatedSince = Annotated[
    str | None,
    QueryParameter(max_length=64, description="ISO 8601 or epoch seconds: only what changed here since"),
]
Ids = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^\d{1,18}(,\d{1,18}){0,199}$", description="only these, separated by commas; at most 200"
    ),
]
PIECE = 128 * 1024
"""Bytes."""

Since = Annotated[
    str | None, QueryParameter(max_length=64, description="ISO 8601, epoch seconds, or the id of a change")
]


@get("/activities", responses=LIST, summary="Activities that are not deleted, latest start first")
async def list_activities(
    parts: Parts,
    athlete_id: AthleteFilterId = None,
    after: Instant = None,
    before: Instant = None,
    sport_type: SportType = None,
    visibility: Visibility = None,
    updated_since: UpdatedSince = None,
    ids: Ids = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ActivityPage:
    """`start_date` is at or after `after`, and before `before`. All filters must fit."""
    where = ActivityFilter(
        athlete_id,
        None if after is None else parse_instant(after, "after"),
        None if before is None else parse_instant(before, "before"),
        sport_type,
        visibility,
        None if updated_since is None else parse_instant(updated_since, "updated_since"),
        None if ids is None else tuple(map(int, ids.split(","))),
    )
    return await parts.queries.activities.page(where, cursor, limit)


@get("/activities/{activity_id:int}", responses=ONE, summary="One activity, with the JSON that Strava sent")
async def get_activity(parts: Parts, activity_id: ActivityId) -> ActivityDetail:
    return await parts.queries.activities.get(activity_id)


@get(
    "/activities/{activity_id:int}/streams",
    responses=ONE,
    summary="The streams of an activity, in the shape Strava sends them (key_by_type)",
)
async def get_streams(parts: Parts, activity_id: ActivityId) -> Response[Streams]:
    """A 404 says whether they are pending (not fetched yet) or absent (Strava has none)."""
    encoded = await parts.queries.activities.streams_json(activity_id)
    response: Response[Any] = Stream(_pieces(encoded), media_type=MediaType.JSON)
    return response


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield the parts of a body: to hand the server tens of megabytes at once would stop it."""
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


@get("/activities/{activity_id:int}/photos", responses=ONE, summary="The photos of an activity")
async def list_photos(parts: Parts, activity_id: ActivityId) -> Photos:
    """Fetched if FETCH_PHOTOS is set. While new photos are pending, the previous ones are returned."""
    return await parts.queries.activities.photos(activity_id)


@post(
    "/activities/{activity_id:int}/sync", status_code=202, responses=ONE, summary="Fetch one activity again"
)
async def sync_activity(parts: Parts, activity_id: ActivityId) -> Accepted:
    await parts.athletes.refresh_activity(activity_id)
    return Accepted()


@get(
    "/changes",
    responses=LIST,
    summary="The change feed: changed, new and deleted activities, and athletes who left, in order",
)
async def list_changes(
    parts: Parts, since: Since = None, limit: Limit = 50, cursor: Cursor = None
) -> ChangePage:
    """To follow the feed, ask again with `since` set to the id of the last change you have.

    It carries new, changed, deleted and restored activities, and departed athletes.
    """
    return await parts.queries.activities.changes(None if since is None else _since(since), cursor, limit)


def _since(text: str) -> datetime | str:
    try:
        return str(UUID(text))
    except ValueError:
        return parse_instant(text, "since")


HANDLERS = [
    list_activities,
    get_activity,
    get_streams,
    list_photos,
    sync_activity,
    list_changes,
]
