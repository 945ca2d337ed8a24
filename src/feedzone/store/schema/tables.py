"""The tables. Their names and meanings are a public contract, because operators query them.

The migrations create exactly this schema; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, text

from ..engine.types import BigInt, Identifier, Instant, JsonText, PlainText
from .activity_tables import activity_changes as activity_changes
from .activity_tables import activity_photos as activity_photos
from .activity_tables import activity_streams as activity_streams
from .activity_tables import change_feed as change_feed
from .activity_tables import strava_activities as strava_activities
from .athlete_tables import conflicts as conflicts
from .athlete_tables import database_identity as database_identity
from .athlete_tables import deletion_receipts as deletion_receipts
from .athlete_tables import ended_sessions as ended_sessions
from .athlete_tables import oauth_states as oauth_states
from .athlete_tables import reconciliations as reconciliations
from .athlete_tables import rejected_claims as rejected_claims
from .athlete_tables import removals as removals
from .athlete_tables import strava_athletes as strava_athletes
from .athlete_tables import strava_gear as strava_gear
from .athlete_tables import token_uses as token_uses
from .base import describe, one_of, partial_index
from .base import metadata as metadata
from .quota_tables import api_budget as api_budget
from .quota_tables import application_state as application_state
from .quota_tables import athlete_allowances as athlete_allowances
from .quota_tables import call_counts as call_counts
from .quota_tables import call_log as call_log
from .quota_tables import fruitless_calls as fruitless_calls

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("event_data", JsonText, nullable=False, comment="the body, encoded again after parsing"),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("processed_at", Instant),
    Column("error_message", PlainText, comment="for people; ignored_because is the code"),
    Column("object_type", String(64), nullable=False),
    Column("object_id", BigInt, nullable=False),
    Column("aspect_type", String(64), nullable=False),
    Column("owner_id", BigInt, nullable=False),
    Column("subscription_id", BigInt, nullable=False),
    Column("event_time", BigInt, nullable=False, comment="epoch seconds, as Strava sent it"),
    Column("dedup_key", String(64), nullable=False, unique=True),
    Column("signature", String(16), nullable=False),
    Column("job_id", Identifier, comment="the job this event caused"),
    Column("job_version", Integer, comment="the version of that job which includes this event"),
    Column("ignored_because", String(32), comment="why the event caused no job"),
    Column(
        "crowded",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="past the athlete's limit of unproven events: it costs no call of its own",
    ),
    one_of("status", "pending", "processing", "completed", "failed", "ignored"),
    one_of("signature", "verified", "mismatch", "absent"),
    one_of("ignored_because", "foreign_subscription", "unknown_kind", "nothing_to_do"),
)
Index("ix_webhook_events_created_at", webhook_events.c.created_at)
Index("ix_webhook_events_object_id", webhook_events.c.object_id)
Index("ix_webhook_events_owner_id", webhook_events.c.owner_id)
Index("ix_webhook_events_status_id", webhook_events.c.status, webhook_events.c.id)
partial_index("ix_webhook_events_job_id", webhook_events.c.job_id, where=text("job_id IS NOT NULL"))
partial_index(
    "ix_webhook_events_undispatched",
    webhook_events.c.status,
    webhook_events.c.id,
    where=text("job_id IS NULL"),
)
partial_index("ix_webhook_events_pending", webhook_events.c.owner_id, where=text("status = 'pending'"))
describe(
    webhook_events, "Events that Strava sent. Identical deliveries share one row.", label="webhook events"
)

unknown_owners = Table(
    "unknown_owners",
    metadata,
    Column("athlete_id", BigInt, primary_key=True, autoincrement=False),
    Column("events", BigInt, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
)
Index("ix_unknown_owners_last_at", unknown_owners.c.last_at)
describe(
    unknown_owners,
    "How many events came for athletes who are not connected. Their events themselves are not stored.",
    label="counts of events without a connection",
)

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
    Column("wait_reason", String(16), comment="why due_at was moved later; null: it was not"),
    Column("calls", Integer, nullable=False, server_default="1", comment="calls that the job will make"),
    Column("first_received_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column(
        "debounce_until",
        Instant,
        comment="more updates move due_at later, but not beyond this; null: they do not",
    ),
    Column("discarded_at", Instant, comment="when a person discarded the dead letter"),
    one_of("state", "queued", "running", "dead", "discarded"),
    one_of("wait_reason", "quota", "breaker", "debounce", "list_first", "retry", "unproven", "no_answer"),
)
LIVE = text("state IN ('queued', 'running')")
IS_LIVE = jobs.c.state.in_(("queued", "running"))
partial_index("uq_jobs_live", jobs.c.kind, jobs.c.key, jobs.c.athlete_id, unique=True, where=LIVE)
partial_index("ix_jobs_queue", jobs.c.priority, jobs.c.fair_position, where=text("state = 'queued'"))
partial_index("ix_jobs_due_at", jobs.c.due_at, where=text("state = 'queued'"))
partial_index("ix_jobs_lease_until", jobs.c.lease_until, where=text("state = 'running'"))
Index("ix_jobs_athlete_id", jobs.c.athlete_id, jobs.c.priority, jobs.c.fair_position)
Index("ix_jobs_key", jobs.c.key, jobs.c.kind)
describe(
    jobs,
    "The queue. One live row per object and kind; finished jobs are removed, dead letters stay.",
    label="queued jobs",
)

job_attempts = Table(
    "job_attempts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("job_id", Identifier, nullable=False),
    Column("athlete_id", BigInt, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("error_class", String(32), nullable=False),
    Column("error", PlainText, nullable=False, comment="the request and its result"),
)
Index("ix_job_attempts_job_id", job_attempts.c.job_id)
Index("ix_job_attempts_athlete_id", job_attempts.c.athlete_id)
describe(job_attempts, "Every attempt of the jobs that failed.", label="failed attempts")

webhook_subscriptions = Table(
    "webhook_subscriptions",
    metadata,
    Column("subscription_id", BigInt, primary_key=True, autoincrement=False),
    Column("callback_url", PlainText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("is_active", Boolean, nullable=False),
)
describe(webhook_subscriptions, "Our push subscriptions.")

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True, comment="duties: everything that one process does for all"),
    Column("holder", String(300), nullable=False, comment="host:pid:random"),
    Column("since", Instant, nullable=False, comment="by the database's clock, as until"),
    Column("until", Instant, nullable=False, comment="when another process may take over"),
)
describe(leases, "Which process runs the recurring duties, such as schedules and pruning.")

storage_probes = Table(
    "storage_probes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("filling", PlainText, nullable=False, comment="random text of the size of an event and its job"),
)
describe(storage_probes, "Always empty: /readyz writes a row and deletes it, as proof that it can.")
