"""Activities as the API lists them: rows, detail, photos, streams, and the change feed."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from ..domain.effect import PhotoState, StreamState
from ..domain.json_text import clean_text
from ..errors import NotFound
from ..store import activities, photos, removals, streams
from ..store.change_log import ChangeKind
from ..store.engine.database import Connection, Database, Row
from ..store.reads import activities as activity_lists
from ..store.reads import export as export_reads
from ..store.stream_codec import decode, decoded_json
from .paging import Cursor, Int64, bad_cursor, change_id, decode_cursor, first_id, id_cursor, page_of
from .rows import AsReceived, as_received, from_row, require

SyncStatus = Literal["pending", "syncing", "synced", "failed", "deleted"]

Metres = Annotated[float, Meta(description="m")]
MetresPerSecond = Annotated[float, Meta(description="m/s")]
Seconds = Annotated[int, Meta(description="s")]
PerMinute = Annotated[float, Meta(description="1/min")]
Watts = Annotated[float, Meta(description="W")]
Degrees = Annotated[float, Meta(description="degrees, WGS 84")]

Streams = dict[str, Any]
"""Streams in the shape of Strava's `key_by_type=true` response: docs/strava-api.md#streams."""


class Activity(Struct, frozen=True, kw_only=True):
    """An activity as the database has it."""

    id: int
    athlete_id: int
    name: str | None
    sport_type: str | None
    type: Annotated[str | None, Meta(description="legacy; sport_type is more precise")]
    workout_type: int | None
    start_date: datetime | None
    start_date_local: Annotated[datetime | None, Meta(description="local time of the place, without a zone")]
    start_hidden: Annotated[bool | None, Meta(description="the athlete hides the time of day")]
    timezone: Annotated[str | None, Meta(description="IANA name")]
    utc_offset: Annotated[int | None, Meta(description="s east of UTC, daylight saving included")]
    distance: Metres | None
    moving_time: Seconds | None
    elapsed_time: Seconds | None
    total_elevation_gain: Metres | None
    elev_high: Metres | None
    elev_low: Metres | None
    average_speed: MetresPerSecond | None
    max_speed: MetresPerSecond | None
    average_heartrate: PerMinute | None
    max_heartrate: PerMinute | None
    average_cadence: PerMinute | None
    average_watts: Watts | None
    max_watts: Watts | None
    weighted_average_watts: Watts | None
    device_watts: bool | None
    kilojoules: Annotated[float | None, Meta(description="kJ")]
    calories: Annotated[float | None, Meta(description="kcal; from the detail only")]
    average_temp: Annotated[float | None, Meta(description="degrees Celsius")]
    suffer_score: float | None
    perceived_exertion: float | None
    trainer: bool | None
    commute: bool | None
    manual: bool | None
    private: bool | None
    visibility: Annotated[str | None, Meta(description="everyone, followers_only, only_me: please honour it")]
    flagged: bool | None
    hide_from_home: bool | None
    gear_id: str | None
    device_name: str | None
    description: str | None
    upload_id: int | None
    external_id: str | None
    summary_polyline: Annotated[str | None, Meta(description="Google's encoded polyline")]
    start_lat: Degrees | None
    start_lng: Degrees | None
    total_photo_count: int | None
    sync_status: SyncStatus
    sync_attempts: int
    last_sync_error: str | None
    webhook_received_at: datetime | None
    last_fetched_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ActivityPage(Struct, frozen=True):
    """Activities, latest start first."""

    items: list[Activity]
    next_cursor: Cursor | None = None


class ActivityDetail(Activity, frozen=True, kw_only=True):
    """An activity with the JSON that Strava sent, and the state of its streams and photos."""

    streams: Annotated[StreamState | None, Meta(description="null: not fetched yet")]
    photos: Annotated[PhotoState | None, Meta(description="null: not fetched")]
    summary: AsReceived | None
    detail: AsReceived | None


class Photos(Struct, frozen=True):
    """The photos of an activity as Strava lists them, without placeholders."""

    state: Annotated[PhotoState | None, Meta(description="null: not fetched")]
    items: list[Any]


class Change(Struct, frozen=True, kw_only=True):
    """One field of one activity changed, an activity was deleted, or an athlete left."""

    id: str
    kind: Annotated[
        ChangeKind,
        Meta(description="deleted, left: delete what you copied of the activity, or of the athlete"),
    ]
    activity_id: Annotated[int | None, Meta(description="null: the athlete left")]
    athlete_id: int
    field: str
    old_value: Raw | None
    new_value: Raw | None
    changed_at: datetime
    cause: Annotated[
        str, Meta(description="event:<id>, backfill, reconciliation, recheck, request or refused")
    ]


class ChangePage(Struct, frozen=True):
    """Changes, oldest first."""

    items: list[Change]
    next_cursor: Cursor | None = None


class ActivityFilter(Struct, frozen=True):
    """Select activities. `start_date` is at or after `after`, and before `before`."""

    athlete_id: int | None = None
    after: datetime | None = None
    before: datetime | None = None
    sport_type: str | None = None
    visibility: str | None = None
    updated_since: datetime | None = None
    """Only activities whose stored state changed then or later."""
    ids: tuple[int, ...] | None = None


class StoredTotals(Struct, frozen=True):
    """The number of activities that are not deleted, and the number of those with streams."""

    activities: int
    streams: int


class ActivityQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, where: ActivityFilter, cursor: str | None = None, limit: int = 50) -> ActivityPage:
        """Return activities, latest start first."""
        last = decode_cursor(cursor, tuple[datetime, Int64])
        if last is not None and last[0].tzinfo is None:
            raise bad_cursor()
        rows = await self._database.read(
            lambda c: activity_lists.listing(
                c,
                athlete_id=where.athlete_id,
                after=where.after,
                before=where.before,
                # PostgreSQL refuses U+0000 even in a query; no stored text has it.
                sport_type=where.sport_type and clean_text(where.sport_type),
                visibility=where.visibility and clean_text(where.visibility),
                updated_since=where.updated_since,
                ids=where.ids,
                cursor=last,
                limit=limit + 1,
            )
        )
        return page_of(ActivityPage, rows, limit, activity_from, lambda row: (row.start_date, row.id))

    async def get(self, activity_id: int) -> ActivityDetail:
        """Return one activity. Raises NotFound, also if it was deleted at Strava."""

        def body(connection: Connection) -> ActivityDetail:
            row = _existing(connection, activity_id)
            states = {
                "streams": getattr(streams.get(connection, activity_id), "state", None),
                "photos": getattr(photos.get(connection, activity_id), "state", None),
            }
            sources = {"summary": as_received(row.summary), "detail": as_received(row.detail)}
            return from_row(row, ActivityDetail, **states, **sources)

        return await self._database.read(body)

    async def photos(self, activity_id: int) -> Photos:
        """Return an activity's photos. Raises NotFound, also if the activity was deleted at Strava."""

        def body(connection: Connection) -> Photos:
            _existing(connection, activity_id)
            row = photos.get(connection, activity_id)
            return (
                Photos(None, [])
                if row is None
                else Photos(row.state, msgspec.json.decode(row.photos or "[]"))
            )

        return await self._database.read(body)

    async def streams(self, activity_id: int) -> Streams:
        """Return an activity's streams. Raises NotFound that says whether they are pending or absent."""
        row = await self._stored_streams(activity_id)
        return await asyncio.to_thread(decode, row.blob)

    async def streams_json(self, activity_id: int) -> bytes:
        """Return the result of `streams` as JSON, made away from the event loop."""
        row = await self._stored_streams(activity_id)
        return await decoded_json(row.blob, row.samples * (row.channels.count(",") + 1))

    async def _stored_streams(self, activity_id: int) -> Row[Any]:

        def body(connection: Connection) -> Row[Any] | None:
            _existing(connection, activity_id)
            return streams.get(connection, activity_id)

        row = await self._database.read(body)
        if row is not None and row.state == "absent":
            raise NotFound(f"the streams of activity {activity_id} are absent: Strava has none for it")
        if row is None or not row.channels or row.blob is None:
            raise NotFound(
                f"the streams of activity {activity_id} are pending: they have not been fetched yet"
            )
        return row

    async def changes(
        self, since: datetime | str | None = None, cursor: str | None = None, limit: int = 50
    ) -> ChangePage:
        """Return the change feed in the order of commits, after an instant or after a change.

        `since` is the instant, or the id of the change. Raises InvalidInput for a `since` that is neither.
        """
        first = first_id(since) if isinstance(since, datetime) else change_id(since)
        last = id_cursor(cursor) or first
        instant = since if isinstance(since, datetime) else None
        query = partial(activity_lists.changes, since_id=last, limit=limit + 1, since=instant)
        rows = await self._database.read(query)
        return page_of(ChangePage, rows, limit, change_from, lambda row: row.id)

    async def counts_by_status(self, athlete_id: int) -> dict[str, int]:
        """Return how many of the athlete's activities are in each sync status."""
        return await self._database.read(lambda c: activity_lists.progress(c, athlete_id, None))

    async def stored_totals(self) -> StoredTotals:
        return await self._database.read(lambda c: StoredTotals(*export_reads.totals(c)))


def activity_from(row: Row[Any]) -> Activity:
    return from_row(row, Activity)


def change_from(row: Row[Any]) -> Change:
    values = {"old_value": as_received(row.old_value), "new_value": as_received(row.new_value)}
    return from_row(row, Change, **values)


def _existing(connection: Connection, activity_id: int) -> Row[Any]:
    row = require(activities.get(connection, activity_id), f"there is no activity {activity_id} here")
    if row.sync_status == "deleted" or removals.is_open(connection, row.athlete_id):
        raise NotFound(f"activity {activity_id} was deleted, or is no longer visible to us")
    return row
