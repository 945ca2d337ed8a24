"""Webhook events: as the API lists them, and as pages show them with athlete and activity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..domain.event import EventStatus
from ..store import events
from ..store.engine.database import Connection, Database, Row
from ..store.reads import dashboard
from .athletes import names_of
from .paging import Cursor, id_cursor, page_of
from .rows import AsReceived, as_received, from_row


class Event(Struct, frozen=True, kw_only=True):
    """A webhook event as received, and its processing."""

    id: str
    status: EventStatus
    attempts: int
    created_at: datetime
    processed_at: datetime | None
    error_message: str | None
    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    subscription_id: int
    event_time: Annotated[int, Meta(description="epoch s, as Strava sent it")]
    signature: Literal["verified", "mismatch", "absent"]
    job_id: str | None
    event_data: AsReceived


class EventPage(Struct, frozen=True):
    """Webhook events, newest first."""

    items: list[Event]
    next_cursor: Cursor | None = None


class ActivitySummary(Struct, frozen=True):
    """The columns of an activity that lists show."""

    id: int
    athlete_id: int
    name: str | None
    sport_type: str | None
    distance: float | None
    moving_time: int | None
    start_date: datetime | None
    sync_status: str
    last_sync_error: str | None
    last_fetched_at: datetime | None
    operator_may_see: bool
    """Whether the athlete agreed that the operator sees the activity."""


class EventSummary(Struct, frozen=True):
    """An event with its athlete and activity."""

    event: Event
    athlete: str | None
    activity: ActivitySummary | None
    can_retry: bool = False

    @property
    def took_s(self) -> float | None:
        """Seconds from receipt to completion."""
        done = self.event.processed_at
        return None if done is None else max(0.0, (done - self.event.created_at).total_seconds())

    @property
    def way_s(self) -> float:
        """Seconds from the event time to receipt; Strava sends whole seconds."""
        return max(0.0, self.event.created_at.timestamp() - self.event.event_time)


class EventSummaryPage(Struct, frozen=True):
    items: list[EventSummary]
    next_cursor: str | None = None


class EventQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, status: str | None = None, cursor: str | None = None, limit: int = 50) -> EventPage:
        """Return events, newest first."""
        last = id_cursor(cursor)
        query = partial(events.listing, status=status, limit=limit + 1, before_id=last)
        rows = await self._database.read(query)
        return page_of(EventPage, rows, limit, event_from, lambda row: row.id)

    async def summaries(self, status: str | None, cursor: str | None, limit: int) -> EventSummaryPage:
        """Return events with their athletes and activities, newest first."""
        last = id_cursor(cursor)

        def body(connection: Connection) -> EventSummaryPage:
            rows = events.listing(connection, status=status, limit=limit + 1, before_id=last)
            by_id = {summary.event.id: summary for summary in summaries_from(connection, rows[:limit])}
            return page_of(EventSummaryPage, rows, limit, lambda row: by_id[row.id], lambda row: row.id)

        return await self._database.read(body)

    async def summary(self, event_id: str) -> EventSummary | None:
        def body(connection: Connection) -> EventSummary | None:
            row = events.get(connection, event_id)
            return None if row is None else summaries_from(connection, [row])[0]

        return await self._database.read(body)


def event_from(row: Row[Any]) -> Event:
    return from_row(row, Event, event_data=as_received(row.event_data))


def summaries_from(connection: Connection, rows: Sequence[Row[Any]]) -> list[EventSummary]:
    names = names_of(connection, (row.owner_id for row in rows))
    activities = _activities_of(connection, rows)
    failed = [row.job_id for row in rows if row.status == "failed" and row.job_id]
    dead = dashboard.dead_letter_ids(connection, failed)
    return [
        EventSummary(
            event_from(row),
            names.get(row.owner_id),
            activities.get(row.object_id) if row.object_type == "activity" else None,
            row.job_id in dead,
        )
        for row in rows
    ]


def _activities_of(connection: Connection, rows: Iterable[Row[Any]]) -> dict[int, ActivitySummary]:
    ids = (row.object_id for row in rows if row.object_type == "activity")
    summaries = dashboard.activity_summaries(connection, ids)
    return {activity_id: from_row(row, ActivitySummary) for activity_id, row in summaries.items()}
