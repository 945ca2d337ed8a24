"""Change many rows in small transactions, so that no delivery waits long for one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, select, update

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


async def update_in_batches(
    database: Database, table: Table, matching: ColumnElement[bool], **values: Any
) -> int:
    """Set these values in the matching rows; return in how many."""

    def change(connection: Connection, ids: Sequence[Any]) -> int:
        chosen = update(table).where(_key(table).in_(ids), matching)
        return connection.execute(chosen.values(values)).rowcount

    return await change_in_batches(database, table, matching, change)


async def delete_in_batches(database: Database, table: Table, matching: ColumnElement[bool]) -> int:
    """Delete the matching rows; return how many."""
    change = partial(_delete, table=table, matching=matching)
    return await change_in_batches(database, table, matching, change)


async def delete_oldest(database: Database, age: Column[datetime], matching: ColumnElement[bool]) -> int:
    """Delete the matching rows, oldest first; return how many. `age` begins an index.

    In the order of ids, a search for the last ones would read all younger rows of the table.
    """
    table, removed, after = age.table, 0, None
    assert isinstance(table, Table)
    while rows := await database.read(partial(oldest, age=age, matching=matching, after=after)):
        ids = [row[0] for row in rows]
        count = await database.write(partial(_delete, ids=ids, table=table, matching=matching))
        removed, after = removed + count, rows[-1][1]
        if not count:
            break
    return removed


def oldest(
    connection: Connection, *, age: Column[datetime], matching: ColumnElement[bool], after: datetime | None
) -> Sequence[Any]:
    """Return the ids and ages of some matching rows, oldest first."""
    assert isinstance(age.table, Table)
    query = select(_key(age.table), age).where(matching).order_by(age).limit(AT_ONCE)
    return connection.execute(query if after is None else query.where(age >= after)).all()


def _key(table: Table) -> Column[Any]:
    (key,) = table.primary_key
    return key


def _next_ids(
    connection: Connection, *, table: Table, matching: ColumnElement[bool], after: Any
) -> Sequence[Any]:
    key = _key(table)
    query = select(key).where(matching).order_by(key).limit(AT_ONCE)
    if after is not None:
        query = query.where(key > after)
    return connection.execute(query).scalars().all()


def _delete(
    connection: Connection, ids: Sequence[Any], *, table: Table, matching: ColumnElement[bool]
) -> int:
    return connection.execute(delete(table).where(_key(table).in_(ids), matching)).rowcount


def _apply(connection: Connection, *, change: Change, ids: Sequence[Any]) -> int:
    return change(connection, ids)
