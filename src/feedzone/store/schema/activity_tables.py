"""The tables about activities: their columns, streams, photos, and the audit trail."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, String, Table, text

from ..engine.types import BigInt, Identifier, Instant, JsonText, PackedJson, PlainText, WallTime
from .base import describe, metadata, one_of, partial_index

strava_activities = Table(
    "strava_activities",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("name", PlainText),
    Column("sport_type", PlainText),
    Column("type", PlainText, comment="Strava's old, coarser field; prefer sport_type"),
    Column("workout_type", Integer),
    Column("start_date", Instant, comment="UTC"),
    Column("start_date_local", WallTime, comment="local time at the start, without a zone"),
    Column("start_hidden", Boolean, comment="the athlete hides the start time (shown as 00:00:01)"),
    Column("timezone", PlainText, comment="IANA name"),
    Column("utc_offset", Integer, comment="seconds east of UTC, daylight saving included"),
    Column("distance", Float(53), comment="m"),
    Column("moving_time", Integer, comment="s"),
    Column("elapsed_time", Integer, comment="s"),
    Column("total_elevation_gain", Float(53), comment="m"),
    Column("elev_high", Float(53), comment="m"),
    Column("elev_low", Float(53), comment="m"),
    Column("average_speed", Float(53), comment="m/s"),
    Column("max_speed", Float(53), comment="m/s"),
    Column("average_heartrate", Float(53), comment="1/min"),
    Column("max_heartrate", Float(53), comment="1/min"),
    Column("average_cadence", Float(53), comment="1/min"),
    Column("average_watts", Float(53), comment="W"),
    Column("max_watts", Float(53), comment="W"),
    Column("weighted_average_watts", Float(53), comment="W"),
    Column("device_watts", Boolean),
    Column("kilojoules", Float(53), comment="kJ"),
    Column("calories", Float(53), comment="kcal; only in the detail"),
    Column("average_temp", Float(53), comment="degrees Celsius"),
    Column("suffer_score", Float(53)),
    Column("perceived_exertion", Float(53), comment="only in the detail"),
    Column("trainer", Boolean),
    Column("commute", Boolean),
    Column("manual", Boolean),
    Column("private", Boolean),
    Column("visibility", PlainText, comment="everyone, followers_only, only_me"),
    Column("flagged", Boolean),
    Column("hide_from_home", Boolean),
    Column("gear_id", PlainText),
    Column("device_name", PlainText),
    Column("description", PlainText, comment="only in the detail"),
    Column("upload_id", BigInt),
    Column("external_id", PlainText),
    Column("summary_polyline", PlainText, comment="Google's encoded polyline"),
    Column("start_lat", Float(53), comment="degrees north"),
    Column("start_lng", Float(53), comment="degrees east"),
    Column("total_photo_count", Integer),
    Column("summary", JsonText, comment="JSON as received from the activity list"),
    Column(
        "detail",
        PackedJson,
        comment="JSON as received from GET /activities/{id}; on SQLite compressed (zlib)",
    ),
    Column("sync_status", String(16), nullable=False),
    Column("sync_attempts", Integer, nullable=False, server_default="0"),
    Column("last_sync_error", PlainText),
    Column("fingerprint", String(64), comment="hash of what the samples determine, in the stored detail"),
    Column("no_track", Boolean, comment="Strava shows no track: there is none, or the athlete hides the map"),
    Column(
        "accepted_difference",
        String(64),
        comment="hash of a difference between list and detail that a fetch did not remove",
    ),
    Column("last_event_time", BigInt, comment="event_time of the newest applied event, epoch seconds"),
    Column(
        "unconfirmed",
        JsonText,
        comment="JSON: fields that an event changed and no fetch has confirmed, each with its last value",
    ),
    Column("unconfirmed_until", Instant, comment="when the first of these values comes back"),
    Column("webhook_received_at", Instant, comment="when the last event about it was received"),
    Column("last_fetched_at", Instant, comment="when the detail was last fetched"),
    Column("deleted_at", Instant, comment="when it became a tombstone; null: it exists"),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    one_of("sync_status", "pending", "syncing", "synced", "failed", "deleted"),
)
Index(
    "ix_strava_activities_athlete_id_start_date",
    strava_activities.c.athlete_id,
    strava_activities.c.start_date,
)
Index("ix_strava_activities_start_date_id", strava_activities.c.start_date, strava_activities.c.id)
Index(
    "ix_strava_activities_calendar",  # covers the sums of store/reads/calendar.py: it reads no rows
    strava_activities.c.athlete_id,
    strava_activities.c.start_date_local,
    strava_activities.c.id,
    strava_activities.c.sync_status,
    strava_activities.c.sport_type,
    strava_activities.c.distance,
    strava_activities.c.moving_time,
    strava_activities.c.total_elevation_gain,
    strava_activities.c.last_fetched_at,
)
partial_index(
    "ix_strava_activities_unconfirmed",
    strava_activities.c.unconfirmed_until,
    where=text("unconfirmed_until IS NOT NULL"),
)
partial_index(
    "ix_strava_activities_unfinished",
    strava_activities.c.athlete_id,
    where=text("sync_status IN ('pending', 'syncing')"),
)
describe(
    strava_activities,
    "Activities, in SI units; `summary` and `detail` are what Strava sent, as received.",
    label="activities",
)

activity_streams = Table(
    "activity_streams",
    metadata,
    Column("activity_id", BigInt, primary_key=True, autoincrement=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("state", String(16), nullable=False),
    Column("channels", PlainText, nullable=False, server_default="", comment="comma-separated"),
    Column("samples", Integer, nullable=False, server_default="0", comment="samples in the longest channel"),
    Column("blob", LargeBinary, comment="one Parquet file with a column per channel"),
    Column("fetched_at", Instant, nullable=False),
    Column("fingerprint", String(64), comment="strava_activities.fingerprint when they were fetched"),
    Column("asked_at", Instant, comment="when Strava was last asked"),
    Column(
        "streamless_since", Instant, comment="when Strava was first asked and had none; null: it had them"
    ),
    one_of("state", "pending", "present", "absent"),
)
Index("ix_activity_streams_athlete_id", activity_streams.c.athlete_id)
describe(
    activity_streams,
    "One Parquet blob per activity, one column per channel; DuckDB and pandas read it.",
    label="streams",
)

activity_photos = Table(
    "activity_photos",
    metadata,
    Column("activity_id", BigInt, primary_key=True, autoincrement=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("state", String(16), nullable=False),
    Column("photo_count", Integer, nullable=False, comment="total_photo_count when they were requested"),
    Column("photos", JsonText, comment="JSON list, each entry as received; null: none yet"),
    Column("asked_at", Instant, comment="when Strava first responded; requests repeat for one day"),
    Column("fetched_at", Instant, comment="when the photos were received"),
    one_of("state", "pending", "present", "absent"),
)
Index("ix_activity_photos_athlete_id", activity_photos.c.athlete_id)
describe(
    activity_photos,
    "The photos of an activity as Strava lists them, if FETCH_PHOTOS is set.",
    label="photo lists",
)

activity_changes = Table(
    "activity_changes",
    metadata,
    Column("id", Identifier, primary_key=True, comment="rises in the order of commits"),
    Column("activity_id", BigInt, comment="null: the athlete left"),
    Column("athlete_id", BigInt, nullable=False),
    Column("kind", String(16), nullable=False, server_default="changed"),
    Column("field", String(64), nullable=False, comment="column of strava_activities; status: the athlete's"),
    Column("old_value", JsonText, comment="JSON of the value before"),
    Column("new_value", JsonText, comment="JSON of the value after"),
    Column("changed_at", Instant, nullable=False),
    Column(
        "cause",
        String(64),
        nullable=False,
        comment="event:<id>, backfill, reconciliation, recheck, request or refused",
    ),
    one_of("kind", "new", "changed", "deleted", "restored", "left"),
)
Index("ix_activity_changes_activity_id", activity_changes.c.activity_id)
Index("ix_activity_changes_athlete_id", activity_changes.c.athlete_id, activity_changes.c.id)
describe(
    activity_changes,
    "The audit trail and change feed: each changed field with its old and new value, time and cause; each "
    "deleted activity; each athlete who left.",
    label="change history entries",
)

change_feed = Table(
    "change_feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_stamp", BigInt, nullable=False, comment="time and counter of the newest id"),
)
describe(change_feed, "One row: where the ids of `activity_changes` go on.")
