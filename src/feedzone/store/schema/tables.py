"""The tables. Their names and meanings are a public contract: operators query them.

The migrations build exactly this schema; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    text,
)

from ..engine.types import BigInt, Identifier, Instant, JsonText, PlainText, WallTime
from .base import metadata as metadata
from .base import one_of, partial_index
from .quota_tables import api_budget as api_budget
from .quota_tables import application_state as application_state
from .quota_tables import call_log as call_log

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("event_data", JsonText, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("processed_at", Instant),
    Column("error_message", PlainText, comment="for people; ignored_because is the code"),
    Column("object_type", String(16), nullable=False),
    Column("object_id", BigInt, nullable=False),
    Column("aspect_type", String(16), nullable=False),
    Column("owner_id", BigInt, nullable=False),
    Column("subscription_id", BigInt, nullable=False),
    Column("event_time", BigInt, nullable=False, comment="epoch seconds, as Strava sent it"),
    Column("dedup_key", String(64), nullable=False, unique=True),
    Column("signature", String(16), nullable=False),
    Column("job_id", Identifier, comment="the job this event caused"),
    Column("job_version", Integer, comment="the version of that job which includes this event"),
    Column("ignored_because", String(32), comment="why the event caused no job"),
    one_of("status", "pending", "processing", "completed", "failed", "ignored"),
    one_of("signature", "verified", "mismatch", "absent"),
    one_of("ignored_because", "foreign_subscription", "not_connected", "nothing_to_do"),
)
Index("ix_webhook_events_created_at", webhook_events.c.created_at)
Index("ix_webhook_events_object_id", webhook_events.c.object_id)
Index("ix_webhook_events_owner_id", webhook_events.c.owner_id)
Index("ix_webhook_events_status_id", webhook_events.c.status, webhook_events.c.id)
Index("ix_webhook_events_job_id", webhook_events.c.job_id)
partial_index("ix_webhook_events_pending", webhook_events.c.owner_id, where=text("status = 'pending'"))

jobs = Table(
    "jobs",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("key", String(64), nullable=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("state", String(16), nullable=False),
    Column("hint", JsonText, nullable=False),
    Column("hint_time", BigInt, nullable=False, comment="event_time of the hint; 0 when no event said it"),
    Column("priority", Integer, nullable=False, comment="the lane; lower goes first"),
    Column("fair_position", BigInt, nullable=False, comment="order within the lane, athletes in turns"),
    Column("due_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("lease_until", Instant),
    Column("lease_owner", String(128)),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("last_error", PlainText, comment="for people; wait_reason and error_class are the codes"),
    Column("error_class", String(32), comment="by which dead letters are grouped"),
    Column("http_status", Integer, comment="Strava's answer to the failed attempt; null: no answer"),
    Column("wait_reason", String(16), comment="why due_at was put off; null: it was not"),
    Column("calls", Integer, nullable=False, server_default="1", comment="calls that the job will make"),
    Column("first_received_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("debounce_until", Instant, comment="more updates put due_at off up to then; null: they do not"),
    Column("discarded_at", Instant, comment="when a person discarded the dead letter"),
    one_of("state", "queued", "running", "dead", "discarded"),
    one_of("wait_reason", "quota", "breaker", "debounce", "list_first", "retry"),
)
LIVE = text("state IN ('queued', 'running')")
IS_LIVE = jobs.c.state.in_(("queued", "running"))
partial_index("uq_jobs_live", jobs.c.kind, jobs.c.key, jobs.c.athlete_id, unique=True, where=LIVE)
partial_index("ix_jobs_queue", jobs.c.priority, jobs.c.fair_position, where=text("state = 'queued'"))
partial_index("ix_jobs_due_at", jobs.c.due_at, where=text("state = 'queued'"))
partial_index("ix_jobs_lease_until", jobs.c.lease_until, where=text("state = 'running'"))
Index("ix_jobs_athlete_id", jobs.c.athlete_id, jobs.c.priority, jobs.c.fair_position)
Index("ix_jobs_key", jobs.c.key, jobs.c.kind)

job_attempts = Table(
    "job_attempts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("job_id", Identifier, nullable=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("error_class", String(32), nullable=False),
    Column("error", PlainText, nullable=False, comment="what was asked, and what came of it"),
)
Index("ix_job_attempts_job_id", job_attempts.c.job_id)
Index("ix_job_attempts_athlete_id", job_attempts.c.athlete_id)

strava_athletes = Table(
    "strava_athletes",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("username", PlainText),
    Column("firstname", PlainText),
    Column("lastname", PlainText),
    Column("scopes", PlainText, comment="granted, comma-separated"),
    Column("status", String(16), nullable=False),
    Column("status_reason", PlainText),
    Column("access_token_encrypted", PlainText),
    Column("refresh_token_encrypted", PlainText),
    Column("token_expires_at", Instant),
    Column("token_generation", Integer, nullable=False, server_default="0"),
    Column("refresh_lease_owner", String(128)),
    Column("refresh_lease_until", Instant),
    Column("refresh_uncertain_at", Instant, comment="a refresh of this generation got no answer"),
    Column("initial_sync_started_at", Instant),
    Column("initial_sync_completed", Boolean, nullable=False, server_default=text("false")),
    Column("initial_sync_completed_at", Instant),
    Column("initial_sync_after", Instant, comment="start of the synced window; null: all history"),
    Column("initial_sync_cursor", Integer, comment="pages listed so far"),
    Column("initial_sync_listed", Boolean, nullable=False, server_default=text("false")),
    Column("initial_sync_found", Integer, nullable=False, server_default="0"),
    Column("webhook_subscription_active", Boolean, nullable=False, server_default=text("false")),
    Column("last_event_at", Instant),
    Column("last_synced_at", Instant),
    Column("last_verified_at", Instant, comment="the last full comparison with Strava"),
    Column("reconcile_due_at", Instant, comment="when the next comparison falls due"),
    Column("connected_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("gear_due_at", Instant, comment="when bikes and shoes are asked for again"),
    Column("wanted_sports", PlainText, comment="sport types to fetch details of, comma-separated; null: all"),
    Column(
        "operator_may_see",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="the athlete has agreed that the operator sees the activities on the pages",
    ),
    one_of("status", "active", "needs_reauth", "needs_scope", "deauthorized"),
)

strava_gear = Table(
    "strava_gear",
    metadata,
    Column("athlete_id", BigInt, primary_key=True, autoincrement=False),
    Column("id", PlainText, primary_key=True, comment="b...: bike, g...: shoes"),
    Column("kind", String(16), nullable=False),
    Column("name", PlainText),
    Column("nickname", PlainText),
    Column("is_primary", Boolean),
    Column("retired", Boolean, comment="the athlete has put it away; null: Strava did not say"),
    Column("distance", Float(53), comment="m"),
    Column("removed_at", Instant, comment="no longer in the profile: deleted at Strava"),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False, comment="when it was last seen to change"),
    Column("raw", JsonText, nullable=False, comment="as received with the athlete"),
    one_of("kind", "bike", "shoe"),
)

strava_activities = Table(
    "strava_activities",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("name", PlainText),
    Column("sport_type", PlainText),
    Column("type", PlainText, comment="legacy; sport_type is the finer one"),
    Column("workout_type", Integer),
    Column("start_date", Instant, comment="UTC"),
    Column("start_date_local", WallTime, comment="wall time where it happened"),
    Column("start_hidden", Boolean, comment="the athlete hides the time of day (shown as 00:00:01)"),
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
    Column("calories", Float(53), comment="kcal; detail only"),
    Column("average_temp", Float(53), comment="degrees Celsius"),
    Column("suffer_score", Float(53)),
    Column("perceived_exertion", Float(53), comment="detail only"),
    Column("trainer", Boolean),
    Column("commute", Boolean),
    Column("manual", Boolean),
    Column("private", Boolean),
    Column("visibility", PlainText, comment="everyone, followers_only, only_me"),
    Column("flagged", Boolean),
    Column("hide_from_home", Boolean),
    Column("gear_id", PlainText),
    Column("device_name", PlainText),
    Column("description", PlainText, comment="detail only"),
    Column("upload_id", BigInt),
    Column("external_id", PlainText),
    Column("summary_polyline", PlainText, comment="Google's encoded polyline"),
    Column("start_lat", Float(53)),
    Column("start_lng", Float(53)),
    Column("total_photo_count", Integer),
    Column("summary", JsonText, comment="as received from the activity list"),
    Column("detail", JsonText, comment="as received from the activity itself"),
    Column("sync_status", String(16), nullable=False),
    Column("sync_attempts", Integer, nullable=False, server_default="0"),
    Column("last_sync_error", PlainText),
    Column("last_event_time", BigInt, comment="event_time of the newest event applied, epoch s"),
    Column("webhook_received_at", Instant),
    Column("last_fetched_at", Instant),
    Column("deleted_at", Instant),
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
    "ix_strava_activities_diary",  # all that store/diary.py adds up, so that it need not read the rows
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
    "ix_strava_activities_unfinished",
    strava_activities.c.athlete_id,
    where=text("sync_status IN ('pending', 'syncing')"),
)

activity_streams = Table(
    "activity_streams",
    metadata,
    Column("activity_id", BigInt, primary_key=True, autoincrement=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("state", String(16), nullable=False),
    Column("channels", PlainText, nullable=False, server_default="", comment="comma-separated"),
    Column("samples", Integer, nullable=False, server_default="0"),
    Column("blob", LargeBinary, comment="one Parquet file, a column a channel"),
    Column("fetched_at", Instant, nullable=False),
    one_of("state", "pending", "present", "absent"),
)
Index("ix_activity_streams_athlete_id", activity_streams.c.athlete_id)

activity_photos = Table(
    "activity_photos",
    metadata,
    Column("activity_id", BigInt, primary_key=True, autoincrement=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("state", String(16), nullable=False),
    Column("photo_count", Integer, nullable=False, comment="total_photo_count they were asked for with"),
    Column("photos", JsonText, comment="a list, each entry as received; null: none yet"),
    Column("asked_at", Instant, comment="when Strava first answered; it is asked for a day"),
    Column("fetched_at", Instant, comment="when the photos came"),
    one_of("state", "pending", "present", "absent"),
)
Index("ix_activity_photos_athlete_id", activity_photos.c.athlete_id)

webhook_subscriptions = Table(
    "webhook_subscriptions",
    metadata,
    Column("subscription_id", BigInt, primary_key=True, autoincrement=False),
    Column("callback_url", PlainText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("is_active", Boolean, nullable=False),
)

activity_changes = Table(
    "activity_changes",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("activity_id", BigInt, nullable=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("field", String(64), nullable=False),
    Column("old_value", JsonText),
    Column("new_value", JsonText),
    Column("changed_at", Instant, nullable=False),
    Column("cause", String(64), nullable=False, comment="event:<id>, backfill, request"),
)
Index("ix_activity_changes_activity_id", activity_changes.c.activity_id)
Index("ix_activity_changes_athlete_id", activity_changes.c.athlete_id, activity_changes.c.id)

token_uses = Table(
    "token_uses",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("used_at", Instant, nullable=False),
    Column("purpose", String(16), nullable=False, comment="exchange, refresh, revoke"),
    Column("generation", Integer, nullable=False),
    Column("outcome", PlainText, nullable=False),
)
Index("ix_token_uses_athlete_id", token_uses.c.athlete_id)

oauth_states = Table(
    "oauth_states",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the one-time state"),
    Column("created_at", Instant, nullable=False),
    Column("operator_may_see", Boolean, comment="what was agreed to on the way to Strava; null: not asked"),
)

rejected_claims = Table(
    "rejected_claims",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("claim", String(16), nullable=False, comment="delete, deauthorization"),
    Column("cause", String(64), nullable=False),
    Column("noticed_at", Instant, nullable=False),
)

deletion_receipts = Table(
    "deletion_receipts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("reason", String(16), nullable=False, comment="deauthorized, disconnected"),
    Column("cause", String(64), nullable=False),
    Column("confirmed_by", PlainText, nullable=False),
    Column("purged_at", Instant, nullable=False),
    Column("counts", JsonText, nullable=False, comment="rows removed, by table"),
    Column("revoked_at", Instant, comment="when Strava confirmed that our access is gone"),
    Column("revoke_detail", PlainText),
)
Index("ix_deletion_receipts_athlete_id", deletion_receipts.c.athlete_id)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("is_full", Boolean, nullable=False),
    Column("listed", Integer, nullable=False),
    Column("unannounced", Integer, nullable=False, comment="new, and no event told of it"),
    Column("changed", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
)
Index("ix_sweeps_athlete_id", reconciliations.c.athlete_id)
Index("ix_sweeps_ended_at", reconciliations.c.ended_at)

conflicts = Table(
    "conflicts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("kind", String(32), nullable=False, comment="mass_deletion"),
    Column("detail", JsonText, nullable=False, comment="activity ids, and how many we hold"),
    Column("status", String(16), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("resolved_at", Instant),
    one_of("status", "open", "accepted", "dismissed", "settled"),
)
Index("ix_conflicts_athlete_id", conflicts.c.athlete_id)
