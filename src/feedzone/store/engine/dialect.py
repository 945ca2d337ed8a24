"""SQL expressions that SQLAlchemy writes differently for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table


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
