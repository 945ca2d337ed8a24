"""The first schema."""

import sqlalchemy as sa
from alembic import op

from feedzone.store.engine import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity_changes",
        sa.Column("id", types.Identifier(), nullable=False, comment="rises in the order of commits"),
        sa.Column("activity_id", types.BigInt, nullable=True, comment="null: the athlete left"),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="changed", nullable=False),
        sa.Column(
            "field",
            sa.String(length=64),
            nullable=False,
            comment="column of strava_activities; status: the athlete's",
        ),
        sa.Column("old_value", types.JsonText(), nullable=True, comment="JSON of the value before"),
        sa.Column("new_value", types.JsonText(), nullable=True, comment="JSON of the value after"),
        sa.Column("changed_at", types.Instant(), nullable=False),
        sa.Column(
            "cause",
            sa.String(length=64),
            nullable=False,
            comment="event:<id>, backfill, reconciliation, recheck, request or refused",
        ),
        sa.CheckConstraint(
            "kind IN ('new', 'changed', 'deleted', 'restored', 'left')", name=op.f("ck_activity_changes_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_changes")),
    )
    op.create_index("ix_activity_changes_activity_id", "activity_changes", ["activity_id"], unique=False)
    op.create_index("ix_activity_changes_athlete_id", "activity_changes", ["athlete_id", "id"], unique=False)
    op.create_table(
        "activity_photos",
        sa.Column("activity_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column(
            "photo_count", sa.Integer(), nullable=False, comment="total_photo_count when they were requested"
        ),
        sa.Column(
            "photos",
            types.JsonText(),
            nullable=True,
            comment="JSON list, each entry as received; null: none yet",
        ),
        sa.Column(
            "asked_at",
            types.Instant(),
            nullable=True,
            comment="when Strava first responded; requests repeat for one day",
        ),
        sa.Column("fetched_at", types.Instant(), nullable=True, comment="when the photos were received"),
        sa.CheckConstraint(
            "state IN ('pending', 'present', 'absent')", name=op.f("ck_activity_photos_state")
        ),
        sa.PrimaryKeyConstraint("activity_id", name=op.f("pk_activity_photos")),
    )
    op.create_index("ix_activity_photos_athlete_id", "activity_photos", ["athlete_id"], unique=False)
    op.create_table(
        "activity_streams",
        sa.Column("activity_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column(
            "channels", types.PlainText(), server_default="", nullable=False, comment="comma-separated"
        ),
        sa.Column(
            "samples",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="samples in the longest channel",
        ),
        sa.Column(
            "blob", sa.LargeBinary(), nullable=True, comment="one Parquet file with a column per channel"
        ),
        sa.Column("fetched_at", types.Instant(), nullable=False),
        sa.Column(
            "fingerprint",
            sa.String(length=64),
            nullable=True,
            comment="strava_activities.fingerprint when they were fetched",
        ),
        sa.Column("asked_at", types.Instant(), nullable=True, comment="when Strava was last asked"),
        sa.Column(
            "streamless_since",
            types.Instant(),
            nullable=True,
            comment="when Strava was first asked and had none; null: it had them",
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'present', 'absent')", name=op.f("ck_activity_streams_state")
        ),
        sa.PrimaryKeyConstraint("activity_id", name=op.f("pk_activity_streams")),
    )
    op.create_index("ix_activity_streams_athlete_id", "activity_streams", ["athlete_id"], unique=False)
    op.create_table(
        "api_budget",
        sa.Column(
            "window",
            sa.String(length=16),
            nullable=False,
            comment="read_15min, read_day, overall_15min, overall_day",
        ),
        sa.Column("starts_at", types.Instant(), nullable=False, comment="start of the current window"),
        sa.Column("quota", sa.Integer(), nullable=False, comment="calls allowed in the window"),
        sa.Column("used", sa.Integer(), nullable=False, comment="calls used or reserved"),
        sa.Column(
            "latched_until", types.Instant(), nullable=True, comment="no calls until then, after a 429"
        ),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.Column(
            "others",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="the part of used that other programs spent",
        ),
        sa.Column(
            "alone_until",
            types.Instant(),
            nullable=True,
            comment="one call runs alone until then; others wait for its response",
        ),
        sa.Column(
            "history",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="the part of used that backfills spent",
        ),
        sa.Column(
            "raised_at",
            types.Instant(),
            nullable=True,
            comment="when Strava raised the quota; null: no job waits for the old one",
        ),
        sa.PrimaryKeyConstraint("window", name=op.f("pk_api_budget")),
    )
    op.create_table(
        "application_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "inactive_since",
            types.Instant(),
            nullable=True,
            comment="since when Strava has the application deactivated",
        ),
        sa.Column(
            "probe_at",
            types.Instant(),
            nullable=True,
            comment="when one call may test whether Strava accepts calls again",
        ),
        sa.Column(
            "prober_at",
            types.Instant(),
            nullable=True,
            comment="the latest probe for which a waiting job returns",
        ),
        sa.Column("reason", types.PlainText(), nullable=True),
        sa.Column(
            "failing_since",
            types.Instant(),
            nullable=True,
            comment="since when all calls to Strava have failed",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_state")),
    )
    op.create_table(
        "athlete_allowances",
        sa.Column("athlete_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column(
            "calls", sa.Integer(), nullable=False, comment="calls that the athlete's own clicks caused"
        ),
        sa.Column(
            "until", types.Instant(), nullable=False, comment="when the hour ends in which they are counted"
        ),
        sa.PrimaryKeyConstraint("athlete_id", name=op.f("pk_athlete_allowances")),
    )
    op.create_table(
        "call_counts",
        sa.Column(
            "quarter",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="quarters of an hour since 1970",
        ),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False, comment="calls in the quarter that Strava counts"),
        sa.Column(
            "in_vain",
            sa.Integer(),
            nullable=False,
            comment="live ones of these that Strava answered with 404",
        ),
        sa.PrimaryKeyConstraint("quarter", "lane", name=op.f("pk_call_counts")),
    )
    op.create_table(
        "call_log",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("sent_at", types.Instant(), nullable=False),
        sa.Column(
            "lane",
            sa.String(length=16),
            nullable=False,
            comment="the lane of its job; none: not part of a job",
        ),
        sa.Column(
            "athlete_id", types.BigInt, nullable=True, comment="null: no athlete, or a disconnected one"
        ),
        sa.Column(
            "endpoint",
            sa.String(length=64),
            nullable=False,
            comment="method and path without ids, such as GET activities/{id}",
        ),
        sa.Column("status", sa.Integer(), nullable=True, comment="HTTP status; null: no response"),
        sa.Column(
            "ms", sa.Integer(), nullable=False, comment="milliseconds from sending to the end of the response"
        ),
        sa.Column(
            "usage", types.JsonText(), nullable=True, comment="the rate limit headers; null: there were none"
        ),
        sa.Column(
            "counted",
            sa.Boolean(),
            nullable=False,
            comment="false: it did not count, as it never reached Strava",
        ),
        sa.Column(
            "calls",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="number of calls; more than 1 only for other programs",
        ),
        sa.Column(
            "activity_id",
            types.BigInt,
            nullable=True,
            comment="the requested activity; null: none, or its athlete has disconnected",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_log")),
    )
    op.create_index("ix_call_log_activity_id", "call_log", ["activity_id"], unique=False)
    op.create_index("ix_call_log_athlete_id", "call_log", ["athlete_id"], unique=False)
    op.create_index(
        "ix_call_log_sent_at",
        "call_log",
        ["sent_at", "lane", "athlete_id", "counted", "calls", "status", "ms"],
        unique=False,
    )
    op.create_table(
        "change_feed",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_stamp", types.BigInt, nullable=False, comment="time and counter of the newest id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_feed")),
    )
    op.create_table(
        "conflicts",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False, comment="mass_deletion"),
        sa.Column(
            "detail",
            types.JsonText(),
            nullable=False,
            comment="JSON: missing (activity ids), held (stored activities of the athlete)",
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("opened_at", types.Instant(), nullable=False),
        sa.Column("resolved_at", types.Instant(), nullable=True),
        sa.CheckConstraint(
            "status IN ('open', 'accepted', 'dismissed', 'settled')", name=op.f("ck_conflicts_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflicts")),
    )
    op.create_index("ix_conflicts_athlete_id", "conflicts", ["athlete_id"], unique=False)
    op.create_table(
        "database_identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "database_id", types.Identifier(), nullable=False, comment="names the database in the erasure log"
        ),
        sa.Column(
            "generation",
            types.BigInt,
            nullable=False,
            comment="only rises; less than in the log: it was restored",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_database_identity")),
    )
    op.create_table(
        "deletion_receipts",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column(
            "reason", sa.String(length=16), nullable=False, comment="deauthorized, disconnected, expired"
        ),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("confirmed_by", types.PlainText(), nullable=False),
        sa.Column("purged_at", types.Instant(), nullable=False),
        sa.Column("counts", types.JsonText(), nullable=False, comment="rows removed, by table"),
        sa.Column(
            "revoked_at",
            types.Instant(),
            nullable=True,
            comment="when Strava confirmed that our access has ended",
        ),
        sa.Column("revoke_detail", types.PlainText(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletion_receipts")),
    )
    op.create_index("ix_deletion_receipts_athlete_id", "deletion_receipts", ["athlete_id"], unique=False)
    op.create_table(
        "ended_sessions",
        sa.Column(
            "id",
            sa.String(length=32),
            nullable=False,
            comment="the random id in the cookie of a browser session",
        ),
        sa.Column("ended_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ended_sessions")),
    )
    op.create_table(
        "fruitless_calls",
        sa.Column(
            "athlete_id",
            types.BigInt,
            autoincrement=False,
            nullable=False,
            comment="0: all athletes together",
        ),
        sa.Column(
            "level", sa.Float(precision=53), nullable=False, comment="how full the bucket was at updated_at"
        ),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.Column(
            "listed_at",
            types.Instant(),
            nullable=True,
            comment="when the athlete's list was last read because of events",
        ),
        sa.PrimaryKeyConstraint("athlete_id", name=op.f("pk_fruitless_calls")),
    )
    op.create_table(
        "job_attempts",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("job_id", types.Identifier(), nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("ended_at", types.Instant(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error_class", sa.String(length=32), nullable=False),
        sa.Column("error", types.PlainText(), nullable=False, comment="the request and its result"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_attempts")),
    )
    op.create_index("ix_job_attempts_athlete_id", "job_attempts", ["athlete_id"], unique=False)
    op.create_index("ix_job_attempts_job_id", "job_attempts", ["job_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("hint", types.JsonText(), nullable=False),
        sa.Column(
            "hint_time",
            types.BigInt,
            nullable=False,
            comment="event_time of the hint; 0 when no event said it",
        ),
        sa.Column("priority", sa.Integer(), nullable=False, comment="the lane; lower goes first"),
        sa.Column(
            "fair_position", types.BigInt, nullable=False, comment="order within the lane, athletes in turns"
        ),
        sa.Column("due_at", types.Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", types.Instant(), nullable=True),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "last_error",
            types.PlainText(),
            nullable=True,
            comment="for people; wait_reason and error_class are the codes",
        ),
        sa.Column(
            "error_class", sa.String(length=32), nullable=True, comment="by which dead letters are grouped"
        ),
        sa.Column(
            "http_status",
            sa.Integer(),
            nullable=True,
            comment="Strava's answer to the failed attempt; null: no answer",
        ),
        sa.Column(
            "wait_reason",
            sa.String(length=16),
            nullable=True,
            comment="why due_at was moved later; null: it was not",
        ),
        sa.Column(
            "calls", sa.Integer(), server_default="1", nullable=False, comment="calls that the job will make"
        ),
        sa.Column("first_received_at", types.Instant(), nullable=False),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.Column(
            "debounce_until",
            types.Instant(),
            nullable=True,
            comment="more updates move due_at later, but not beyond this; null: they do not",
        ),
        sa.Column(
            "discarded_at", types.Instant(), nullable=True, comment="when a person discarded the dead letter"
        ),
        sa.CheckConstraint("state IN ('queued', 'running', 'dead', 'discarded')", name=op.f("ck_jobs_state")),
        sa.CheckConstraint(
            "wait_reason IN ('quota', 'breaker', 'debounce', 'list_first', 'retry', 'unproven', 'no_answer')",
            name=op.f("ck_jobs_wait_reason"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_athlete_id", "jobs", ["athlete_id", "priority", "fair_position"], unique=False)
    op.create_index(
        "ix_jobs_due_at",
        "jobs",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_jobs_key", "jobs", ["key", "kind"], unique=False)
    op.create_index(
        "ix_jobs_lease_until",
        "jobs",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_jobs_queue",
        "jobs",
        ["priority", "fair_position"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "uq_jobs_live",
        "jobs",
        ["kind", "key", "athlete_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_table(
        "leases",
        sa.Column(
            "name",
            sa.String(length=32),
            nullable=False,
            comment="duties: everything that one process does for all",
        ),
        sa.Column("holder", sa.String(length=300), nullable=False, comment="host:pid:random"),
        sa.Column("since", types.Instant(), nullable=False, comment="by the database's clock, as until"),
        sa.Column("until", types.Instant(), nullable=False, comment="when another process may take over"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "oauth_states",
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the one-time state"),
        sa.Column("created_at", types.Instant(), nullable=False, comment="when a browser brought it back"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_oauth_states")),
    )
    op.create_table(
        "reconciliations",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("ended_at", types.Instant(), nullable=False),
        sa.Column("is_full", sa.Boolean(), nullable=False, comment="the list was read to its end"),
        sa.Column("listed", sa.Integer(), nullable=False, comment="activities that Strava listed"),
        sa.Column(
            "unannounced", sa.Integer(), nullable=False, comment="new activities that no event announced"
        ),
        sa.Column("changed", sa.Integer(), nullable=False, comment="stored activities that differ"),
        sa.Column(
            "missing", sa.Integer(), nullable=False, comment="stored activities that Strava did not list"
        ),
        sa.Column("calls", sa.Integer(), nullable=False, comment="calls to Strava that it took"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index("ix_reconciliations_athlete_id", "reconciliations", ["athlete_id"], unique=False)
    op.create_index("ix_reconciliations_ended_at", "reconciliations", ["ended_at"], unique=False)
    op.create_table(
        "rejected_claims",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("claim", sa.String(length=16), nullable=False, comment="delete, deauthorization"),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("noticed_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_claims")),
    )
    op.create_table(
        "removals",
        sa.Column("athlete_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column(
            "receipt_id", types.Identifier(), nullable=False, comment="the receipt that counts the rows"
        ),
        sa.Column(
            "status",
            sa.String(length=16),
            nullable=False,
            comment="the athlete's status before the departure",
        ),
        sa.PrimaryKeyConstraint("athlete_id", name=op.f("pk_removals")),
    )
    op.create_table(
        "storage_probes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "filling",
            types.PlainText(),
            nullable=False,
            comment="random text of the size of an event and its job",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_storage_probes")),
    )
    op.create_table(
        "strava_activities",
        sa.Column("id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("name", types.PlainText(), nullable=True),
        sa.Column("sport_type", types.PlainText(), nullable=True),
        sa.Column(
            "type", types.PlainText(), nullable=True, comment="Strava's old, coarser field; prefer sport_type"
        ),
        sa.Column("workout_type", sa.Integer(), nullable=True),
        sa.Column("start_date", types.Instant(), nullable=True, comment="UTC"),
        sa.Column(
            "start_date_local",
            types.WallTime(),
            nullable=True,
            comment="local time at the start, without a zone",
        ),
        sa.Column(
            "start_hidden",
            sa.Boolean(),
            nullable=True,
            comment="the athlete hides the start time (shown as 00:00:01)",
        ),
        sa.Column("timezone", types.PlainText(), nullable=True, comment="IANA name"),
        sa.Column(
            "utc_offset", sa.Integer(), nullable=True, comment="seconds east of UTC, daylight saving included"
        ),
        sa.Column("distance", sa.Float(precision=53), nullable=True, comment="m"),
        sa.Column("moving_time", sa.Integer(), nullable=True, comment="s"),
        sa.Column("elapsed_time", sa.Integer(), nullable=True, comment="s"),
        sa.Column("total_elevation_gain", sa.Float(precision=53), nullable=True, comment="m"),
        sa.Column("elev_high", sa.Float(precision=53), nullable=True, comment="m"),
        sa.Column("elev_low", sa.Float(precision=53), nullable=True, comment="m"),
        sa.Column("average_speed", sa.Float(precision=53), nullable=True, comment="m/s"),
        sa.Column("max_speed", sa.Float(precision=53), nullable=True, comment="m/s"),
        sa.Column("average_heartrate", sa.Float(precision=53), nullable=True, comment="1/min"),
        sa.Column("max_heartrate", sa.Float(precision=53), nullable=True, comment="1/min"),
        sa.Column("average_cadence", sa.Float(precision=53), nullable=True, comment="1/min"),
        sa.Column("average_watts", sa.Float(precision=53), nullable=True, comment="W"),
        sa.Column("max_watts", sa.Float(precision=53), nullable=True, comment="W"),
        sa.Column("weighted_average_watts", sa.Float(precision=53), nullable=True, comment="W"),
        sa.Column("device_watts", sa.Boolean(), nullable=True),
        sa.Column("kilojoules", sa.Float(precision=53), nullable=True, comment="kJ"),
        sa.Column("calories", sa.Float(precision=53), nullable=True, comment="kcal; only in the detail"),
        sa.Column("average_temp", sa.Float(precision=53), nullable=True, comment="degrees Celsius"),
        sa.Column("suffer_score", sa.Float(precision=53), nullable=True),
        sa.Column("perceived_exertion", sa.Float(precision=53), nullable=True, comment="only in the detail"),
        sa.Column("trainer", sa.Boolean(), nullable=True),
        sa.Column("commute", sa.Boolean(), nullable=True),
        sa.Column("manual", sa.Boolean(), nullable=True),
        sa.Column("private", sa.Boolean(), nullable=True),
        sa.Column(
            "visibility", types.PlainText(), nullable=True, comment="everyone, followers_only, only_me"
        ),
        sa.Column("flagged", sa.Boolean(), nullable=True),
        sa.Column("hide_from_home", sa.Boolean(), nullable=True),
        sa.Column("gear_id", types.PlainText(), nullable=True),
        sa.Column("device_name", types.PlainText(), nullable=True),
        sa.Column("description", types.PlainText(), nullable=True, comment="only in the detail"),
        sa.Column("upload_id", types.BigInt, nullable=True),
        sa.Column("external_id", types.PlainText(), nullable=True),
        sa.Column("summary_polyline", types.PlainText(), nullable=True, comment="Google's encoded polyline"),
        sa.Column("start_lat", sa.Float(precision=53), nullable=True, comment="degrees north"),
        sa.Column("start_lng", sa.Float(precision=53), nullable=True, comment="degrees east"),
        sa.Column("total_photo_count", sa.Integer(), nullable=True),
        sa.Column(
            "summary", types.JsonText(), nullable=True, comment="JSON as received from the activity list"
        ),
        sa.Column(
            "detail",
            types.PackedJson(),
            nullable=True,
            comment="JSON as received from GET /activities/{id}; on SQLite compressed (zlib)",
        ),
        sa.Column("sync_status", sa.String(length=16), nullable=False),
        sa.Column("sync_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_sync_error", types.PlainText(), nullable=True),
        sa.Column(
            "fingerprint",
            sa.String(length=64),
            nullable=True,
            comment="hash of what the samples determine, in the stored detail",
        ),
        sa.Column(
            "no_track",
            sa.Boolean(),
            nullable=True,
            comment="Strava shows no track: there is none, or the athlete hides the map",
        ),
        sa.Column(
            "accepted_difference",
            sa.String(length=64),
            nullable=True,
            comment="hash of a difference between list and detail that a fetch did not remove",
        ),
        sa.Column(
            "last_event_time",
            types.BigInt,
            nullable=True,
            comment="event_time of the newest applied event, epoch seconds",
        ),
        sa.Column(
            "unconfirmed",
            types.JsonText(),
            nullable=True,
            comment="JSON: fields that an event changed and no fetch has confirmed, each with its last value",
        ),
        sa.Column(
            "unconfirmed_until",
            types.Instant(),
            nullable=True,
            comment="when the first of these values comes back",
        ),
        sa.Column(
            "webhook_received_at",
            types.Instant(),
            nullable=True,
            comment="when the last event about it was received",
        ),
        sa.Column(
            "last_fetched_at", types.Instant(), nullable=True, comment="when the detail was last fetched"
        ),
        sa.Column(
            "deleted_at",
            types.Instant(),
            nullable=True,
            comment="when it became a tombstone; null: it exists",
        ),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.CheckConstraint(
            "sync_status IN ('pending', 'syncing', 'synced', 'failed', 'deleted')",
            name=op.f("ck_strava_activities_sync_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_strava_activities")),
    )
    op.create_index(
        "ix_strava_activities_athlete_id_start_date",
        "strava_activities",
        ["athlete_id", "start_date"],
        unique=False,
    )
    op.create_index(
        "ix_strava_activities_calendar",
        "strava_activities",
        [
            "athlete_id",
            "start_date_local",
            "id",
            "sync_status",
            "sport_type",
            "distance",
            "moving_time",
            "total_elevation_gain",
            "last_fetched_at",
        ],
        unique=False,
    )
    op.create_index(
        "ix_strava_activities_start_date_id", "strava_activities", ["start_date", "id"], unique=False
    )
    op.create_index(
        "ix_strava_activities_unconfirmed",
        "strava_activities",
        ["unconfirmed_until"],
        unique=False,
        sqlite_where=sa.text("unconfirmed_until IS NOT NULL"),
        postgresql_where=sa.text("unconfirmed_until IS NOT NULL"),
    )
    op.create_index(
        "ix_strava_activities_unfinished",
        "strava_activities",
        ["athlete_id"],
        unique=False,
        sqlite_where=sa.text("sync_status IN ('pending', 'syncing')"),
        postgresql_where=sa.text("sync_status IN ('pending', 'syncing')"),
    )
    op.create_table(
        "strava_athletes",
        sa.Column("id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("username", types.PlainText(), nullable=True),
        sa.Column("firstname", types.PlainText(), nullable=True),
        sa.Column("lastname", types.PlainText(), nullable=True),
        sa.Column("scopes", types.PlainText(), nullable=True, comment="granted scopes, comma-separated"),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_reason", types.PlainText(), nullable=True, comment="why the status is not active"),
        sa.Column("access_token_encrypted", types.PlainText(), nullable=True),
        sa.Column("refresh_token_encrypted", types.PlainText(), nullable=True),
        sa.Column("token_expires_at", types.Instant(), nullable=True),
        sa.Column(
            "token_generation",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="rises with each token pair",
        ),
        sa.Column("refresh_lease_owner", sa.String(length=128), nullable=True),
        sa.Column("refresh_lease_until", types.Instant(), nullable=True),
        sa.Column(
            "refresh_uncertain_at",
            types.Instant(),
            nullable=True,
            comment="when a refresh of this token pair got no response",
        ),
        sa.Column("initial_sync_started_at", types.Instant(), nullable=True),
        sa.Column("initial_sync_completed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("initial_sync_completed_at", types.Instant(), nullable=True),
        sa.Column(
            "initial_sync_after",
            types.Instant(),
            nullable=True,
            comment="start of the synced window; null: everything",
        ),
        sa.Column("initial_sync_cursor", sa.Integer(), nullable=True, comment="pages listed so far"),
        sa.Column("initial_sync_listed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "initial_sync_found",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="activities listed so far",
        ),
        sa.Column(
            "webhook_subscription_active", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "last_event_at", types.Instant(), nullable=True, comment="when the last event was received"
        ),
        sa.Column(
            "last_synced_at", types.Instant(), nullable=True, comment="when an activity was last stored"
        ),
        sa.Column(
            "last_verified_at",
            types.Instant(),
            nullable=True,
            comment="end of the last full reconciliation with Strava",
        ),
        sa.Column(
            "deliveries_lost_at",
            types.Instant(),
            nullable=True,
            comment="when refused deliveries were lost, perhaps of this athlete; a comparison heals it",
        ),
        sa.Column(
            "comparison_queued_at",
            types.Instant(),
            nullable=True,
            comment="when the last reconciliation was enqueued",
        ),
        sa.Column(
            "streams_doubted_at",
            types.Instant(),
            nullable=True,
            comment="idle calls fetch streams again that are older; null: none",
        ),
        sa.Column(
            "reconcile_due_at", types.Instant(), nullable=True, comment="when the next reconciliation is due"
        ),
        sa.Column("connected_at", types.Instant(), nullable=False),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.Column(
            "gear_due_at", types.Instant(), nullable=True, comment="when bikes and shoes are fetched next"
        ),
        sa.Column(
            "wanted_sports",
            types.PlainText(),
            nullable=True,
            comment="sport types whose details are fetched, comma-separated; null: all",
        ),
        sa.Column(
            "operator_may_see",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="the athlete agreed that the operator sees their activities on the pages",
        ),
        sa.Column(
            "sports_changed_at",
            types.Instant(),
            nullable=True,
            comment="when wanted_sports changed; null: what it adds has been requested",
        ),
        sa.Column(
            "refused_at",
            types.Instant(),
            nullable=True,
            comment="since when Strava refuses the tokens; null: it does not",
        ),
        sa.Column(
            "leaves_at",
            types.Instant(),
            nullable=True,
            comment="when the data is deleted unless the athlete connects again",
        ),
        sa.Column(
            "leaving_cause",
            sa.String(length=64),
            nullable=True,
            comment="event:<id> (unproven), or refused: the tokens do not work",
        ),
        sa.CheckConstraint(
            "status IN ('active', 'needs_reauth', 'needs_scope', 'leaving', 'deauthorized')",
            name=op.f("ck_strava_athletes_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_strava_athletes")),
    )
    op.create_index(
        "ix_strava_athletes_leaves_at",
        "strava_athletes",
        ["leaves_at"],
        unique=False,
        sqlite_where=sa.text("status = 'leaving'"),
        postgresql_where=sa.text("status = 'leaving'"),
    )
    op.create_index(
        "ix_strava_athletes_sports_changed_at",
        "strava_athletes",
        ["sports_changed_at"],
        unique=False,
        sqlite_where=sa.text("sports_changed_at IS NOT NULL"),
        postgresql_where=sa.text("sports_changed_at IS NOT NULL"),
    )
    op.create_table(
        "strava_gear",
        sa.Column("athlete_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column(
            "id", types.PlainText(), nullable=False, comment="Strava's id: b... for a bike, g... for shoes"
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", types.PlainText(), nullable=True),
        sa.Column("nickname", types.PlainText(), nullable=True),
        sa.Column("is_primary", sa.Boolean(), nullable=True),
        sa.Column(
            "retired",
            sa.Boolean(),
            nullable=True,
            comment="the athlete retired it; null: Strava does not say",
        ),
        sa.Column("distance", sa.Float(precision=53), nullable=True, comment="m"),
        sa.Column(
            "removed_at",
            types.Instant(),
            nullable=True,
            comment="when it was missing from the profile: deleted at Strava",
        ),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("updated_at", types.Instant(), nullable=False, comment="when the last change was seen"),
        sa.Column("raw", types.JsonText(), nullable=False, comment="JSON as received with the athlete"),
        sa.CheckConstraint("kind IN ('bike', 'shoe')", name=op.f("ck_strava_gear_kind")),
        sa.PrimaryKeyConstraint("athlete_id", "id", name=op.f("pk_strava_gear")),
    )
    op.create_table(
        "token_uses",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column("athlete_id", types.BigInt, nullable=False),
        sa.Column("used_at", types.Instant(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False, comment="exchange, refresh, revoke"),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("outcome", types.PlainText(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_uses")),
    )
    op.create_index("ix_token_uses_athlete_id", "token_uses", ["athlete_id"], unique=False)
    op.create_table(
        "unknown_owners",
        sa.Column("athlete_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("events", types.BigInt, nullable=False),
        sa.Column("first_at", types.Instant(), nullable=False),
        sa.Column("last_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("athlete_id", name=op.f("pk_unknown_owners")),
    )
    op.create_index("ix_unknown_owners_last_at", "unknown_owners", ["last_at"], unique=False)
    op.create_table(
        "webhook_events",
        sa.Column("id", types.Identifier(), nullable=False),
        sa.Column(
            "event_data", types.JsonText(), nullable=False, comment="the body, encoded again after parsing"
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("processed_at", types.Instant(), nullable=True),
        sa.Column(
            "error_message",
            types.PlainText(),
            nullable=True,
            comment="for people; ignored_because is the code",
        ),
        sa.Column("object_type", sa.String(length=64), nullable=False),
        sa.Column("object_id", types.BigInt, nullable=False),
        sa.Column("aspect_type", sa.String(length=64), nullable=False),
        sa.Column("owner_id", types.BigInt, nullable=False),
        sa.Column("subscription_id", types.BigInt, nullable=False),
        sa.Column("event_time", types.BigInt, nullable=False, comment="epoch seconds, as Strava sent it"),
        sa.Column("dedup_key", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=16), nullable=False),
        sa.Column("job_id", types.Identifier(), nullable=True, comment="the job this event caused"),
        sa.Column(
            "job_version",
            sa.Integer(),
            nullable=True,
            comment="the version of that job which includes this event",
        ),
        sa.Column(
            "ignored_because", sa.String(length=32), nullable=True, comment="why the event caused no job"
        ),
        sa.Column(
            "crowded",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="past the athlete's limit of unproven events: it costs no call of its own",
        ),
        sa.CheckConstraint(
            "ignored_because IN ('foreign_subscription', 'unknown_kind', 'nothing_to_do')",
            name=op.f("ck_webhook_events_ignored_because"),
        ),
        sa.CheckConstraint(
            "signature IN ('verified', 'mismatch', 'absent')", name=op.f("ck_webhook_events_signature")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed', 'ignored')",
            name=op.f("ck_webhook_events_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_events")),
        sa.UniqueConstraint("dedup_key", name=op.f("uq_webhook_events_dedup_key")),
    )
    op.create_index("ix_webhook_events_created_at", "webhook_events", ["created_at"], unique=False)
    op.create_index(
        "ix_webhook_events_job_id",
        "webhook_events",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("job_id IS NOT NULL"),
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )
    op.create_index("ix_webhook_events_object_id", "webhook_events", ["object_id"], unique=False)
    op.create_index("ix_webhook_events_owner_id", "webhook_events", ["owner_id"], unique=False)
    op.create_index(
        "ix_webhook_events_pending",
        "webhook_events",
        ["owner_id"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("ix_webhook_events_status_id", "webhook_events", ["status", "id"], unique=False)
    op.create_index(
        "ix_webhook_events_undispatched",
        "webhook_events",
        ["status", "id"],
        unique=False,
        sqlite_where=sa.text("job_id IS NULL"),
        postgresql_where=sa.text("job_id IS NULL"),
    )
    op.create_table(
        "webhook_subscriptions",
        sa.Column("subscription_id", types.BigInt, autoincrement=False, nullable=False),
        sa.Column("callback_url", types.PlainText(), nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", name=op.f("pk_webhook_subscriptions")),
    )
