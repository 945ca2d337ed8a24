"""Activities as feedzone keeps them: typed columns beside what Strava sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

Level = Literal["summary", "detail"]

PER_PAGE = 200
"""The most activities that Strava lists at once (contract section 6)."""

LIST_AHEAD = timedelta(days=2)
"""How far ahead of us a list looks: start times may come from clocks that are wrong."""


class ActivityRecord(msgspec.Struct, frozen=True):
    """One activity as one answer of Strava showed it.

    `columns` are the typed values for `strava_activities`, SI units (contract section 6): metres,
    seconds, metres per second, watts, degrees Celsius. A column that the answer did not have is not
    in it: absent is not null, so that a summary cannot erase what only the detail knows.
    """

    id: int
    athlete_id: int
    level: Level
    columns: dict[str, Any]
    raw: str
    """The JSON text as received."""

    @property
    def manual(self) -> bool:
        return self.columns.get("manual") is True

    @property
    def shape(self) -> tuple[float | None, int | None, int | None]:
        """See HeldActivity.shape."""
        columns = self.columns
        return columns.get("distance"), columns.get("moving_time"), columns.get("elapsed_time")

    @property
    def start_date(self) -> datetime | None:
        value = self.columns.get("start_date")
        return value if isinstance(value, datetime) else None


class StoredActivity(msgspec.Struct, frozen=True):
    """What our database says of an activity."""

    id: int
    athlete_id: int
    sync_status: Literal["pending", "syncing", "synced", "failed", "deleted"]
    manual: bool = False
    sport_type: str | None = None
    detailed: bool = False
    """Whether we have ever had its detail; else what we hold is its summary."""
    stream_state: Literal["pending", "present", "absent"] | None = None
    started: datetime | None = None
    first_seen: datetime | None = None
    """When our row was made."""
    announced: bool = False
    """Whether an event ever told of it."""
    last_event_time: int | None = None
    """`event_time` of the newest event that was applied to it, epoch seconds."""
    fetched: datetime | None = None
    """When Strava showed us its detail."""
    shape: tuple[float | None, int | None, int | None] = (None, None, None)
    """Distance (m), moving and elapsed time (s): as long as these stay, the streams do."""

    @property
    def live(self) -> bool:
        return self.sync_status != "deleted"
