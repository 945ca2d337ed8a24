"""The interface to the database: read and write transactions on SQLite or PostgreSQL.

A transaction is a plain function over a SQLAlchemy `Connection`. It cannot await, so no transaction
can span an HTTP call, and on SQLite the whole transaction is one hop to one thread instead of one hop
per statement (docs/decisions/0002-transactions-are-functions.md). A body may run again after a
deadlock or a busy database, so it must not change anything but the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import Connection, Row

from ...ports import Wakeup

if TYPE_CHECKING:
    from .listener import JobListener

__all__ = ["Body", "Connection", "Database", "Row", "T"]

T = TypeVar("T")

ANSWER_S = 12.0
"""The database must answer each statement within this; else its connection is silent, and is dropped."""

Body = Callable[[Connection], T]


class Database(Protocol):
    """The operations that the store needs from a database, SQLite or PostgreSQL."""

    shares_work: bool
    """True when several processes are expected to use this database at the same time."""

    async def read(self, body: Body[T]) -> T:
        """Run `body` in one transaction that only reads. Raises StorageUnavailable."""
        ...

    async def write(
        self, body: Body[T], *, durable: bool = True, within_s: float | None = None, alone: bool = False
    ) -> T:
        """Run `body` in one transaction; it is durable when this returns. Raises StorageUnavailable.

        `alone`: the body is one statement, which needs no BEGIN and COMMIT.

        `within_s` limits the time of the whole transaction; without it, each of its statements has a limit.

        With `durable=False` the call does not wait for the disk and is several times faster. Only a power
        failure can undo the transaction, so use it where such a loss does no harm.
        """
        ...

    async def data_version(self) -> str:
        """Return a text that changes with every commit of any process.

        A different text does not prove that our data changed. The call is cheap enough to run several
        times a second.
        """
        ...

    def listener(self, jobs: Wakeup, events: Wakeup) -> JobListener | None:
        """Return a listener for jobs and events of other processes; None where only polling finds them."""
        ...

    async def erase_deleted(self) -> None:
        """See to it that no file of the database keeps the content of deleted rows (guarantee 6).

        On PostgreSQL this goes on in the background, until `close`.
        """
        ...

    def run_sync(self, body: Body[T], *, answer_s: float | None = ANSWER_S) -> T:
        """Run `body` in one transaction from synchronous code (migrations, command line).

        `answer_s` limits the time of each statement.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
