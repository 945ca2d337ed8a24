"""SQL expressions that SQLAlchemy writes differently for SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, Boolean, ColumnElement, Connection, DateTime, Table, bindparam, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .types import Instant


class _Among(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()
    name = "among"

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        # SQLAlchemy would compare it with 1 on SQLite, which then uses no index.
        return self


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Match the rows whose column is among the values of the parameter `name`, a list.

    Differs because SQLite has no arrays. With `IN`, each number of values would be a statement of its own
    for PostgreSQL to prepare and to plan.
    """
    return _Among(column, bindparam(name, type_=ARRAY(column.type)))


@compiles(_Among, "postgresql")
def _any(element: Any, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_Among, "sqlite")
def _in(element: Any, compiler: Any, **options: Any) -> str:
    column, values = element.clauses
    text: str = compiler.process(column.in_(bindparam(values.key, expanding=True)), **options)
    return text


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
