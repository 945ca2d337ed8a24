"""The base of all tables: one metadata, descriptions, the naming of constraints, and partial indexes."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import CheckConstraint, Column, Connection, Index, MetaData, Table, TextClause, event

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Description(NamedTuple):
    text: str
    label: str


DESCRIPTIONS: dict[str, Description] = {}


def describe(table: Table, text: str, *, label: str = "") -> None:
    """Set the description of a table in docs/reference.md, and what pages call its rows.

    Not `Table.info`, since Alembic writes that into migrations.
    """
    DESCRIPTIONS[table.name] = Description(text, label)


def one_of(column: str, *values: str) -> CheckConstraint:
    """Return a CHECK that the column has one of these values."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


def partial_index(name: str, *columns: Column[Any], where: TextClause, unique: bool = False) -> Index:
    """Return an index of only the rows for which `where` holds.

    SQLAlchemy takes the condition as an option of each dialect, and imports every dialect whose option it
    gets. So `info` stores the condition, and it becomes an option of only the dialect that creates the index.
    """
    return Index(name, *columns, unique=unique, info={"where": where})


@event.listens_for(metadata, "before_create")
def _set_index_conditions(_metadata: MetaData, connection: Connection, **_options: Any) -> None:
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info["where"]
