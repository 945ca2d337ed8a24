"""Activities as feedzone stores them: typed columns beside the JSON that Strava sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import msgspec

Level = Literal["summary", "detail"]

PER_PAGE = 200
"""The most activities that Strava lists on one page (docs/strava-api.md#resources)."""

LIST_AHEAD = timedelta(days=2)
"""How far into the future the list of a backfill reaches. Comparisons have no such end."""

SAMPLED_COLUMNS = (
    "distance",
    "moving_time",
    "elapsed_time",
    "total_elevation_gain",
    "elev_high",
    "elev_low",
    "average_speed",
    "max_speed",
    "average_heartrate",
    "max_heartrate",
    "average_cadence",
    "average_watts",
    "max_watts",
    "weighted_average_watts",
    "device_watts",
    "kilojoules",
    "average_temp",
    "summary_polyline",
    "start_lat",
    "start_lng",
)
"""The columns that Strava computes from the samples. When one changes, so have the streams."""

EVIDENCE_COLUMNS = ("summary_polyline", "start_lat", "average_heartrate", "device_watts", "device_name")
"""A value in one of these columns shows that something recorded the activity: it should have streams."""


def should_have_streams(columns: Mapping[str, Any]) -> bool:
    """Return whether a device recorded the activity, as far as its columns tell."""
    return columns.get("manual") is not True and any(columns.get(name) for name in EVIDENCE_COLUMNS)


def _rounded(value: Any) -> Any:
    """Return the value, and of a number one form for all notations."""
    return round(float(value), 6) if type(value) in (int, float) else value


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
    traits: tuple[Any, ...] = ()
    """Facts about the samples that have no column, such as the full track."""
    track: bool | None = None
    """Whether the response shows the track. None: the response has no map at all."""

    @property
    def manual(self) -> bool:
        return self.columns.get("manual") is True

    @property
    def recorded(self) -> bool:
        """Whether a device recorded it, so that it should have streams."""
        return should_have_streams(self.columns)

    @property
    def fingerprint(self) -> str:
        """Return a hash of all that changes when the samples do. Summary and detail have different ones."""
        values = [_rounded(self.columns.get(name)) for name in SAMPLED_COLUMNS]
        return sha256(msgspec.json.encode([*values, *self.traits])).hexdigest()

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
    fingerprint: str | None = None
    """The fingerprint of the stored detail."""
    streams_fingerprint: str | None = None
    """The fingerprint of the detail to which the stored streams belong."""
    streamless_since: datetime | None = None
    """When Strava was first asked for the streams and had none. None: it had them, or was never asked."""
    recorded: bool = False
    """Whether a device recorded it, so that it should have streams."""

    @property
    def live(self) -> bool:
        return self.sync_status != "deleted"
