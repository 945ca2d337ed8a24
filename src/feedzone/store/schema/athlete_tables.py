"""The tables about athletes: connection, gear, tokens, reconciliations, and disconnects."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table, text

from ..engine.types import BigInt, Identifier, Instant, JsonText, PlainText
from .base import describe, metadata, one_of, partial_index

strava_athletes = Table(
    "strava_athletes",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("username", PlainText),
    Column("firstname", PlainText),
    Column("lastname", PlainText),
    Column("scopes", PlainText, comment="granted scopes, comma-separated"),
    Column("status", String(16), nullable=False),
    Column("status_reason", PlainText, comment="why the status is not active"),
    Column("access_token_encrypted", PlainText),
    Column("refresh_token_encrypted", PlainText),
    Column("token_expires_at", Instant),
    Column(
        "token_generation", Integer, nullable=False, server_default="0", comment="rises with each token pair"
    ),
    Column("refresh_lease_owner", String(128)),
    Column("refresh_lease_until", Instant),
    Column("refresh_uncertain_at", Instant, comment="when a refresh of this token pair got no response"),
    Column("initial_sync_started_at", Instant),
    Column("initial_sync_completed", Boolean, nullable=False, server_default=text("false")),
    Column("initial_sync_completed_at", Instant),
    Column("initial_sync_after", Instant, comment="start of the synced window; null: everything"),
    Column("initial_sync_cursor", Integer, comment="pages listed so far"),
    Column("initial_sync_listed", Boolean, nullable=False, server_default=text("false")),
    Column(
        "initial_sync_found", Integer, nullable=False, server_default="0", comment="activities listed so far"
    ),
    Column("webhook_subscription_active", Boolean, nullable=False, server_default=text("false")),
    Column("last_event_at", Instant, comment="when the last event was received"),
    Column("last_synced_at", Instant, comment="when an activity was last stored"),
    Column("last_verified_at", Instant, comment="end of the last full reconciliation with Strava"),
    Column(
        "deliveries_lost_at",
        Instant,
        comment="when refused deliveries were lost, perhaps of this athlete; a comparison heals it",
    ),
    Column("comparison_queued_at", Instant, comment="when the last reconciliation was enqueued"),
    Column(
        "streams_doubted_at", Instant, comment="idle calls fetch streams again that are older; null: none"
    ),
    Column("reconcile_due_at", Instant, comment="when the next reconciliation is due"),
    Column("connected_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("gear_due_at", Instant, comment="when bikes and shoes are fetched next"),
    Column(
        "wanted_sports",
        PlainText,
        comment="sport types whose details are fetched, comma-separated; null: all",
    ),
    Column(
        "operator_may_see",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="the athlete agreed that the operator sees their activities on the pages",
    ),
    Column(
        "sports_changed_at",
        Instant,
        comment="when wanted_sports changed; null: what it adds has been requested",
    ),
    Column("refused_at", Instant, comment="since when Strava refuses the tokens; null: it does not"),
    Column("leaves_at", Instant, comment="when the data is deleted unless the athlete connects again"),
    Column("leaving_cause", String(64), comment="event:<id> (unproven), or refused: the tokens do not work"),
    one_of("status", "active", "needs_reauth", "needs_scope", "leaving", "deauthorized"),
)
partial_index("ix_strava_athletes_leaves_at", strava_athletes.c.leaves_at, where=text("status = 'leaving'"))
partial_index(
    "ix_strava_athletes_sports_changed_at",
    strava_athletes.c.sports_changed_at,
    where=text("sports_changed_at IS NOT NULL"),
)
describe(strava_athletes, "Connected athletes. Of a disconnected athlete only the id stays.")

strava_gear = Table(
    "strava_gear",
    metadata,
    Column("athlete_id", BigInt, primary_key=True, autoincrement=False),
    Column("id", PlainText, primary_key=True, comment="Strava's id: b... for a bike, g... for shoes"),
    Column("kind", String(16), nullable=False),
    Column("name", PlainText),
    Column("nickname", PlainText),
    Column("is_primary", Boolean),
    Column("retired", Boolean, comment="the athlete retired it; null: Strava does not say"),
    Column("distance", Float(53), comment="m"),
    Column("removed_at", Instant, comment="when it was missing from the profile: deleted at Strava"),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False, comment="when the last change was seen"),
    Column("raw", JsonText, nullable=False, comment="JSON as received with the athlete"),
    one_of("kind", "bike", "shoe"),
)
describe(
    strava_gear,
    "Bikes and shoes of the profile, read once a day, also unused, retired and deleted ones.",
    label="bikes and shoes",
)

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
describe(
    token_uses,
    "Each exchange and refresh of tokens, with time and result. Never a token.",
    label="token usage entries",
)

oauth_states = Table(
    "oauth_states",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the one-time state"),
    Column("created_at", Instant, nullable=False, comment="when a browser brought it back"),
)
describe(oauth_states, "One-time state values of consents that were used in the last hour.")

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("id", String(32), primary_key=True, comment="the random id in the cookie of a browser session"),
    Column("ended_at", Instant, nullable=False),
)
describe(ended_sessions, "Browser sessions that ended at sign-out.")

rejected_claims = Table(
    "rejected_claims",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("claim", String(16), nullable=False, comment="delete, deauthorization"),
    Column("cause", String(64), nullable=False),
    Column("noticed_at", Instant, nullable=False),
)
describe(rejected_claims, "Deletes and deauthorisations that Strava refuted, so probably forged.")

deletion_receipts = Table(
    "deletion_receipts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("reason", String(16), nullable=False, comment="deauthorized, disconnected, expired"),
    Column("cause", String(64), nullable=False),
    Column("confirmed_by", PlainText, nullable=False),
    Column("purged_at", Instant, nullable=False),
    Column("counts", JsonText, nullable=False, comment="rows removed, by table"),
    Column("revoked_at", Instant, comment="when Strava confirmed that our access has ended"),
    Column("revoke_detail", PlainText),
)
Index("ix_deletion_receipts_athlete_id", deletion_receipts.c.athlete_id)
describe(deletion_receipts, "Proof that the data of a disconnected athlete was deleted.")

removals = Table(
    "removals",
    metadata,
    Column("athlete_id", BigInt, primary_key=True, autoincrement=False),
    Column("receipt_id", Identifier, nullable=False, comment="the receipt that counts the rows"),
    Column("status", String(16), nullable=False, comment="the athlete's status before the departure"),
)
describe(removals, "Athletes who have left, while their rows are being deleted. Mostly empty.")

database_identity = Table(
    "database_identity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("database_id", Identifier, nullable=False, comment="names the database in the erasure log"),
    Column("generation", BigInt, nullable=False, comment="only rises; less than in the log: it was restored"),
)
describe(database_identity, "One row, by which a restored backup is recognized.")

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("is_full", Boolean, nullable=False, comment="the list was read to its end"),
    Column("listed", Integer, nullable=False, comment="activities that Strava listed"),
    Column("unannounced", Integer, nullable=False, comment="new activities that no event announced"),
    Column("changed", Integer, nullable=False, comment="stored activities that differ"),
    Column("missing", Integer, nullable=False, comment="stored activities that Strava did not list"),
    Column("calls", Integer, nullable=False, comment="calls to Strava that it took"),
)
Index("ix_reconciliations_athlete_id", reconciliations.c.athlete_id)
Index("ix_reconciliations_ended_at", reconciliations.c.ended_at)
describe(reconciliations, "Reconciliations with Strava and their findings.", label="checks")

conflicts = Table(
    "conflicts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("athlete_id", BigInt, nullable=False),
    Column("kind", String(32), nullable=False, comment="mass_deletion"),
    Column(
        "detail",
        JsonText,
        nullable=False,
        comment="JSON: missing (activity ids), held (stored activities of the athlete)",
    ),
    Column("status", String(16), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("resolved_at", Instant),
    one_of("status", "open", "accepted", "dismissed", "settled"),
)
Index("ix_conflicts_athlete_id", conflicts.c.athlete_id)
describe(conflicts, "Mass deletions that wait for a person's decision.", label="open decisions")
