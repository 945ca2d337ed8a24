"""The tables of what we ask of Strava: the rate limit windows, the journal of calls, the breaker."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table

from ..engine.types import BigInt, Identifier, Instant, JsonText, PlainText
from .base import metadata

api_budget = Table(
    "api_budget",
    metadata,
    Column("window", String(16), primary_key=True),
    Column("starts_at", Instant, nullable=False),
    Column("quota", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("latched_until", Instant, comment="a 429 closed the window"),
    Column("updated_at", Instant, nullable=False),
    Column("others", Integer, nullable=False, server_default="0", comment="of used: calls that are not ours"),
    Column("alone_until", Instant, comment="a call whose answer the others wait for"),
    Column("history", Integer, nullable=False, server_default="0", comment="of used: calls for histories"),
)

call_log = Table(
    "call_log",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("sent_at", Instant, nullable=False),
    Column("lane", String(16), nullable=False, comment="of the job it was made for; none: outside of jobs"),
    Column("athlete_id", BigInt, comment="null: for nobody, or for one who has left"),
    Column("endpoint", String(64), nullable=False, comment="GET activities/{id}: no ids"),
    Column("status", Integer, comment="null: no answer"),
    Column("ms", Integer, nullable=False, comment="from sending to the answer's end"),
    Column("usage", JsonText, comment="what the rate limit headers said; null: nothing"),
    Column("counted", Boolean, nullable=False, comment="false: it surely never reached Strava"),
    Column("calls", Integer, nullable=False, server_default="1", comment="how many; of others more than one"),
    Column("activity_id", BigInt, comment="that was asked for; null: none, or of an athlete who has left"),
)
Index("ix_call_log_sent_at", call_log.c.sent_at)
Index("ix_call_log_athlete_id", call_log.c.athlete_id)
Index("ix_call_log_activity_id", call_log.c.activity_id)

application_state = Table(
    "application_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("inactive_since", Instant, comment="Strava has switched the application off"),
    Column("probe_at", Instant, comment="when one call may ask whether it is on again"),
    Column("reason", PlainText),
    Column("failing_since", Instant, comment="Strava has failed at one call after the other"),
)
