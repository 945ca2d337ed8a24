"""Rows that a transaction collects and writes last, just before its commit.

The last write of a transaction can take a lock that every writer needs: nobody waits for it longer than for
a commit, and it deadlocks with no other lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from .interface import Body, T

Write = Callable[[Connection, list[Any]], None]

_KEY = "feedzone_last_step"


def collected(connection: Connection, write: Write) -> list[Any]:
    """Return the list that `write` stores when the body of this transaction has ended."""
    lists: dict[Write, list[Any]] = connection.info.setdefault(_KEY, {})
    return lists.setdefault(write, [])


def run_body(connection: Connection, body: Body[T]) -> T:
    """Run the body of a transaction, then write what it collected. The caller commits."""
    connection.info.pop(_KEY, None)  # a transaction that was rolled back leaves its list behind
    result = body(connection)
    for write, rows in connection.info.pop(_KEY, {}).items():
        if rows:
            write(connection, rows)
    return result
