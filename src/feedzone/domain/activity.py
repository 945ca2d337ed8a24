"""Activities as feedzone stores them: typed columns beside the JSON that Strava sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

Level = Literal["summary", "detail"]

PER_PAGE = 200
"""The most activities that Strava lists on one page (docs/strava-api.md#resources)."""

LIST_AHEAD = timedelta(days=2)
"""How far into the future a list reaches: a device's clock, and so a start time, may be wrong."""


class ActivityRecord(msgspec.Struct, frozen=True):
    """One activity as one of Strava's responses showed it.

    `columns` are the typed values for `strava_activities`, in SI units (docs/strava-api.md#resources):
    metres, seconds, metres per second, watts, degrees Celsius. A column that the response lacks is not
    in it: absent is not null, so that a summary cannot erase values that only the detail has.
    """

    id: int
    athlete_id: int
    level: Level
    columns: dict[str, Any]
    raw: str
    """The JSON text as received, repaired where some decoder could not read it."""

    @property
    def manual(self) -> bool:
        return self.columns.get("manual") is True

    @property
    def shape(self) -> tuple[float | None, int | None, int | None]:
        """See StoredActivity.shape."""
        columns = self.columns
        return columns.get("distance"), columns.get("moving_time"), columns.get("elapsed_time")

    @property
    def start_date(self) -> datetime | None:
        value = self.columns.get("start_date")
        return value if isinstance(value, datetime) else None


class StoredActivity(msgspec.Struct, frozen=True):
    """The part of an activity's row that handlers base their decisions on."""

    id: int
    athlete_id: int
    sync_status: Literal["pending", "syncing", "synced", "failed", "deleted"]
    manual: bool = False
    sport_type: str | None = None
    detailed: bool = False
    """Whether its detail was ever stored; else the row comes from a summary."""
    stream_state: Literal["pending", "present", "absent"] | None = None
    started: datetime | None = None
    first_seen: datetime | None = None
    """When our row was created."""
    announced: bool = False
    """Whether an event about it ever arrived."""
    last_event_time: int | None = None
    """The `event_time` of the newest event that was applied to it, epoch seconds."""
    fetched: datetime | None = None
    """When its detail was last fetched."""
    shape: tuple[float | None, int | None, int | None] = (None, None, None)
    """Distance (m), moving and elapsed time (s). The streams are unchanged while these are."""

    @property
    def live(self) -> bool:
        return self.sync_status != "deleted"
