"""Change many rows in small transactions, so that no delivery waits long for one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from .engine.database import Database

AT_ONCE = 100
"""Rows per transaction: on a slow disk this takes some 50 ms."""

Change = Callable[[Connection, Sequence[Any]], int]


async def change_in_batches(
    database: Database, table: Table, matching: ColumnElement[bool], change: Change
) -> int:
    """Call `change` with some matching ids at a time, in order; return the sum of its results.

    A row may stop matching between the search and the change: `change` has to check that.
    """
    changed, after = 0, None
    while ids := await database.read(partial(_next_ids, table=table, matching=matching, after=after)):
        changed += await database.write(partial(_apply, change=change, ids=ids))
        after = ids[-1]
    return changed


async def delete_in_batches(database: Database, table: Table, matching: ColumnElement[bool]) -> int:
    """Delete the matching rows; return how many."""

    def change(connection: Connection, ids: Sequence[Any]) -> int:
        return connection.execute(delete(table).where(table.c.id.in_(ids), matching)).rowcount

    return await change_in_batches(database, table, matching, change)


def _next_ids(
    connection: Connection, *, table: Table, matching: ColumnElement[bool], after: Any
) -> Sequence[Any]:
    query = select(table.c.id).where(matching).order_by(table.c.id).limit(AT_ONCE)
    if after is not None:
        query = query.where(table.c.id > after)
    return connection.execute(query).scalars().all()


def _apply(connection: Connection, *, change: Change, ids: Sequence[Any]) -> int:
    return change(connection, ids)
