"""Statements that SQLAlchemy spells differently on the two databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Integer, Table, cast, extract, func


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT with on_conflict_do_nothing/update: the same words on both, two classes in SQLAlchemy."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> Any:
    """`insert_into` for a statement that is built once for each dialect."""
    # What the engine has loaded already; the other one takes long to load.
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def quarter_of(dialect: str, instant: Any) -> Any:
    """Quarters of an hour since 1970. Differs for the same reason as `hour_of_day`."""
    if dialect == "postgresql":
        return cast(func.floor(extract("epoch", instant) / 900), Integer)
    return cast(func.strftime("%s", instant), Integer) // 900


def hour_of_day(connection: Connection, instant: Any) -> Any:
    """The hour (UTC) of an instant. Differs because SQLite has it as text, and PostgreSQL in its own zone."""
    if connection.dialect.name == "postgresql":
        return cast(extract("hour", func.timezone("UTC", instant)), Integer)
    return cast(func.substr(instant, len("2026-11-03T") + 1, 2), Integer)
