"""The tables about calls to Strava: the rate limit windows, the call log, the circuit breaker."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table

from ..engine.types import BigInt, Identifier, Instant, JsonText, PlainText
from .base import describe, metadata

api_budget = Table(
    "api_budget",
    metadata,
    Column(
        "window", String(16), primary_key=True, comment="read_15min, read_day, overall_15min, overall_day"
    ),
    Column("starts_at", Instant, nullable=False, comment="start of the current window"),
    Column("quota", Integer, nullable=False, comment="calls allowed in the window"),
    Column("used", Integer, nullable=False, comment="calls used or reserved"),
    Column("latched_until", Instant, comment="no calls until then, after a 429"),
    Column("updated_at", Instant, nullable=False),
    Column(
        "others",
        Integer,
        nullable=False,
        server_default="0",
        comment="the part of used that other programs spent",
    ),
    Column("alone_until", Instant, comment="one call runs alone until then; others wait for its response"),
    Column(
        "history",
        Integer,
        nullable=False,
        server_default="0",
        comment="the part of used that backfills spent",
    ),
    Column("raised_at", Instant, comment="when Strava raised the quota; null: no job waits for the old one"),
)
describe(api_budget, "The four windows of Strava's rate limit, shared by all processes.")

call_log = Table(
    "call_log",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("sent_at", Instant, nullable=False),
    Column("lane", String(16), nullable=False, comment="the lane of its job; none: not part of a job"),
    Column("athlete_id", BigInt, comment="null: no athlete, or a disconnected one"),
    Column(
        "endpoint",
        String(64),
        nullable=False,
        comment="method and path without ids, such as GET activities/{id}",
    ),
    Column("status", Integer, comment="HTTP status; null: no response"),
    Column("ms", Integer, nullable=False, comment="milliseconds from sending to the end of the response"),
    Column("usage", JsonText, comment="the rate limit headers; null: there were none"),
    Column("counted", Boolean, nullable=False, comment="false: it did not count, as it never reached Strava"),
    Column(
        "calls",
        Integer,
        nullable=False,
        server_default="1",
        comment="number of calls; more than 1 only for other programs",
    ),
    Column(
        "activity_id", BigInt, comment="the requested activity; null: none, or its athlete has disconnected"
    ),
)
Index(
    "ix_call_log_sent_at",  # covers the sums of store/quota/call_log.py: they read no rows
    call_log.c.sent_at,
    call_log.c.lane,
    call_log.c.athlete_id,
    call_log.c.counted,
    call_log.c.calls,
    call_log.c.status,
    call_log.c.ms,
)
Index("ix_call_log_athlete_id", call_log.c.athlete_id)
Index("ix_call_log_activity_id", call_log.c.activity_id)
describe(call_log, "Every call of the last eight days, with the job that made it.")

call_counts = Table(
    "call_counts",
    metadata,
    Column(
        "quarter", Integer, primary_key=True, autoincrement=False, comment="quarters of an hour since 1970"
    ),
    Column("lane", String(16), primary_key=True),
    Column("calls", Integer, nullable=False, comment="calls in the quarter that Strava counts"),
    Column("in_vain", Integer, nullable=False, comment="live ones of these that Strava answered with 404"),
)
describe(call_counts, "The calls of the call log by quarter and lane, to learn when calls are needed.")

athlete_allowances = Table(
    "athlete_allowances",
    metadata,
    Column("athlete_id", BigInt, primary_key=True, autoincrement=False),
    Column("calls", Integer, nullable=False, comment="calls that the athlete's own clicks caused"),
    Column("until", Instant, nullable=False, comment="when the hour ends in which they are counted"),
)
describe(athlete_allowances, "What athletes spent of ATHLETE_CALLS_PER_HOUR in an hour that is not over.")

fruitless_calls = Table(
    "fruitless_calls",
    metadata,
    Column("athlete_id", BigInt, primary_key=True, autoincrement=False, comment="0: all athletes together"),
    Column("level", Float(53), nullable=False, comment="how full the bucket was at updated_at"),
    Column("updated_at", Instant, nullable=False),
    Column("listed_at", Instant, comment="when the athlete's list was last read because of events"),
)
describe(
    fruitless_calls,
    "Calls that unproven events caused and that found nothing: buckets that leak.",
    label="counts of fruitless calls",
)

application_state = Table(
    "application_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("inactive_since", Instant, comment="since when Strava has the application deactivated"),
    Column("probe_at", Instant, comment="when one call may test whether Strava accepts calls again"),
    Column("prober_at", Instant, comment="the latest probe for which a waiting job returns"),
    Column("reason", PlainText),
    Column("failing_since", Instant, comment="since when all calls to Strava have failed"),
)
describe(application_state, "The state of the circuit breaker; one row at most.")
