"""SQL expressions that SQLAlchemy writes differently for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Integer, Table, cast, extract, func


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


def quarter_of(dialect: str, instant: Any) -> Any:
    """Return the number of quarter hours since 1970. Differs for the same reason as `hour_of_day`."""
    if dialect == "postgresql":
        return cast(func.floor(extract("epoch", instant) / 900), Integer)
    return cast(func.strftime("%s", instant), Integer) // 900


def hour_of_day(connection: Connection, instant: Any) -> Any:
    """Return the UTC hour of an instant.

    Differs because SQLite stores an instant as text, and PostgreSQL converts it to the session's time zone.
    """
    if connection.dialect.name == "postgresql":
        return cast(extract("hour", func.timezone("UTC", instant)), Integer)
    return cast(func.substr(instant, len("2026-11-03T") + 1, 2), Integer)
