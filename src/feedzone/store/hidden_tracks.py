"""Forget where an athlete was once Strava does not show it any more: every copy of the track goes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, update

from ..domain.activity import ActivityRecord
from . import streams
from .change_log import blank_values
from .schema.tables import strava_activities

TRACK_COLUMNS = ("summary_polyline", "start_lat", "start_lng")
"""The columns that say where the athlete was."""

_FORGET_SUMMARY = (
    update(strava_activities).where(strava_activities.c.id == bindparam("activity")).values(summary=None)
)


def shows_no_track(row: Row[Any], record: ActivityRecord) -> bool | None:
    """Return whether the track is hidden or there is none. None: the response does not tell."""
    if record.track:
        return False
    once_shown = bool(row.no_track or row.summary_polyline or row.start_lat is not None)
    if record.columns.get("start_lat") is not None:
        return True if once_shown and record.track is False else None
    if record.track is None:
        return True if once_shown and record.level == "detail" else None
    # A map without a line is hidden if the start is, too; otherwise Strava may still draw the line.
    return True if once_shown or "start_lat" in record.columns else None


def forget(connection: Connection, row: Row[Any], record: ActivityRecord) -> None:
    """Delete every copy of a track that Strava showed once: in older JSON, audit trail and streams."""
    if record.level == "detail" and row.summary is not None:
        connection.execute(_FORGET_SUMMARY, {"activity": record.id})
    blank_values(connection, record.id, TRACK_COLUMNS)
    streams.forget_track(connection, record.id)
