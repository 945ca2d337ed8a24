"""What all tables share: one metadata, the names of constraints, and indexes of some rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, Connection, Index, MetaData, TextClause, event

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


def partial_index(name: str, *columns: Column[Any], where: TextClause, unique: bool = False) -> Index:
    """An index of the rows for which `where` holds.

    For SQLAlchemy the condition is an option of either dialect, and it loads a dialect whose option is given:
    so it is kept aside, and becomes the option of the one dialect in which the index is created.
    """
    return Index(name, *columns, unique=unique, info={"where": where})


@event.listens_for(metadata, "before_create")
def _spell_conditions(_metadata: MetaData, connection: Connection, **_options: Any) -> None:
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info["where"]
