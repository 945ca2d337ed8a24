"""Totals of the stored data, and the data itself for exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, func, select

from ..removals import is_visible
from ..schema.tables import (
    activity_changes,
    activity_photos,
    activity_streams,
    strava_activities,
    webhook_events,
)

_columns = strava_activities.c
_TYPED: list[Any] = [column for column in _columns if column.name not in ("summary", "detail")]


class JsonList(NamedTuple):
    """A JSON list from Strava, in a table with one row per activity."""

    file: str
    about: str
    """What the file holds, in words for the athlete."""
    column: Column[Any]


JSON_LISTS = (JsonList("photos.jsonl", "lists of photos, if they were fetched", activity_photos.c.photos),)
"""The JSON lists of activities. An export has a file for each."""


def totals(connection: Connection) -> tuple[int, int]:
    """Return the number of activities that are not deleted, and the number of those with streams."""
    alive = select(func.count()).where(_columns.sync_status != "deleted")
    present = select(func.count()).where(activity_streams.c.state == "present")
    return connection.execute(alive).scalar_one(), connection.execute(present).scalar_one()


def _of(athlete_id: int) -> tuple[ColumnElement[bool], ...]:
    """Match the athlete's activities that are not deleted."""
    return (
        _columns.athlete_id == athlete_id,
        _columns.sync_status != "deleted",
        is_visible(_columns.athlete_id),
    )


def documents(connection: Connection, athlete_id: int, *, after_id: int, limit: int) -> Sequence[Row[Any]]:
    """Return `id detail summary blob` of the athlete's activities that are not deleted, by id."""
    # Ids first: sorting full rows would read all the JSON that Strava sent.
    page = (
        select(_columns.id).where(*_of(athlete_id), _columns.id > after_id).order_by(_columns.id).limit(limit)
    )
    columns: list[Any] = [_columns.id, _columns.detail, _columns.summary, activity_streams.c.blob]
    query = (
        select(*columns)
        .outerjoin(activity_streams, activity_streams.c.activity_id == _columns.id)
        .where(_columns.id.in_(connection.execute(page).scalars().all()))
        .order_by(_columns.id)
    )
    return connection.execute(query).all()


def lists(
    connection: Connection, stored: JsonList, athlete_id: int, *, after_id: int, limit: int
) -> Sequence[Row[Any]]:
    """Return `activity_id json` of the athlete's activities for which this list is stored, by id."""
    columns = stored.column.table.c
    selected: list[Any] = [columns.activity_id, stored.column.label("json")]
    query = (
        select(*selected)
        .where(
            columns.athlete_id == athlete_id, columns.activity_id > after_id, is_visible(columns.athlete_id)
        )
        .order_by(columns.activity_id)
        .limit(limit)
    )
    if "state" in columns:
        query = query.where(columns.state == "present")
    return connection.execute(query).all()


def stored_columns(
    connection: Connection, athlete_id: int, *, after_id: int, limit: int
) -> Sequence[Row[Any]]:
    """Return the typed columns of the athlete's activities that are not deleted, by id."""
    query: Select[Any] = (
        select(*_TYPED).where(*_of(athlete_id), _columns.id > after_id).order_by(_columns.id).limit(limit)
    )
    return connection.execute(query).all()


def received_events(
    connection: Connection, athlete_id: int, *, after_id: str | None, limit: int
) -> Sequence[Row[Any]]:
    """Return `id created_at event_data` of the athlete's events, oldest first."""
    events = webhook_events.c
    query: Select[Any] = (
        select(events.id, events.created_at, events.event_data)
        .where(events.owner_id == athlete_id, is_visible(events.owner_id))
        .order_by(events.id)
        .limit(limit)
    )
    if after_id is not None:
        query = query.where(events.id > after_id)
    return connection.execute(query).all()


def changes(
    connection: Connection, athlete_id: int, *, after_id: str | None, limit: int
) -> Sequence[Row[Any]]:
    """Return the athlete's part of the audit trail, oldest first."""
    query = (
        select(activity_changes)
        .where(activity_changes.c.athlete_id == athlete_id, is_visible(activity_changes.c.athlete_id))
        .order_by(activity_changes.c.id)
        .limit(limit)
    )
    if after_id is not None:
        query = query.where(activity_changes.c.id > after_id)
    return connection.execute(query).all()
