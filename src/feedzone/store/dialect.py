"""Statements that SQLAlchemy spells differently on the two databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT with on_conflict_do_nothing/update: the same words on both, two classes in SQLAlchemy."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> Any:
    """`insert_into` for a statement that is built once for each dialect."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
