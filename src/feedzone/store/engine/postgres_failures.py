"""What the errors of PostgreSQL mean: an outage, a transaction to repeat, or a mistake of feedzone."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError

from .connecting import one_line

FAILED_OVER = ("25006",)
"""The server became a standby, or accepts only reads: a new connection may reach its successor."""

UNPREPARED = ("26000", "42P05")
"""A prepared statement is unknown, or exists already: a connection pooler stands in between."""

OUTAGES = ("08", "25006", "26", "28", "3D", "3F", "42P05", "42501", "53", "55P03", "57", "58", "F0", "XX")
"""SQLSTATEs that tell of the server, its rights or its schema, and not of one transaction."""

REMEDIES = {
    "42501": "an administrator must GRANT this user the rights on the schema and its tables",
    "25006": "the server accepts no writes now",
    "53100": "free space on the server's disk",
}


def state_of(problem: BaseException) -> str:
    """Return the SQLSTATE of an error; an empty text if it has none."""
    return getattr(getattr(problem, "orig", problem), "sqlstate", None) or ""


def is_outage(problem: DBAPIError) -> bool:
    """Return True when the server is at fault, not this transaction.

    The connection is lost, the database does not exist, resources ran out, a lock timed out, the server
    shuts down or accepts no writes, or our user lost its rights.
    """
    lost = isinstance(getattr(problem.orig, "__cause__", None), asyncpg.InterfaceError)
    return problem.connection_invalidated or lost or state_of(problem).startswith(OUTAGES)


def is_retryable(problem: DBAPIError) -> bool:
    """Return True if the server rolled back and expects a retry, or knows the schema anew.

    That is a deadlock, a failed serialization, or a statement of an earlier schema.
    """
    cause = getattr(problem.orig, "__cause__", None)
    stale = isinstance(cause, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError)
    return stale or state_of(problem) in ("40P01", "40001")


def explained(problem: DBAPIError) -> str:
    remedy = REMEDIES.get(state_of(problem))
    said = one_line(problem.orig) if problem.orig is not None else one_line(problem)
    said = said.rpartition(">: ")[2]
    return f"{said}; {remedy}" if remedy else said
