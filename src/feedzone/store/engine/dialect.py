"""SQL expressions that SQLAlchemy writes differently for SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, DateTime, Table, func, literal

from .types import Instant


def insert_into(connection: Connection, table: Table) -> Any:
    """Return an INSERT that has on_conflict_do_nothing and on_conflict_do_update.

    Both databases use the same SQL, but SQLAlchemy has one class for each.
    """
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> Any:
    """Return what `insert_into` returns, for a statement that is built once per dialect."""
    # The engine has already imported its own dialect; importing the other one is slow.
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def server_time(connection: Connection, now: datetime, *, after_s: float = 0.0) -> Any:
    """Return the time of the database, plus some seconds. `now` is the time of this machine.

    PostgreSQL's clock is the only one that processes on several machines share. A SQLite file has none of its
    own, and its processes share the clock of their machine.
    """
    after = timedelta(seconds=after_s)
    if connection.dialect.name == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True)) + after
    return literal(now + after, Instant)
