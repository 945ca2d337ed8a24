"""The database: one way to read, one way to write, on SQLite and on PostgreSQL.

A transaction is a plain function over a SQLAlchemy `Connection`. It cannot await, so no transaction
can span an HTTP call, and on SQLite the whole transaction is one hop to one thread instead of one hop
per statement (docs/decisions/0002-transactions-are-functions.md). A body may run again after a
deadlock or a busy database, so it must not change anything but the database.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Row
from sqlalchemy.engine import make_url

from ...errors import SettingsError
from ...ports import Wakeup

if TYPE_CHECKING:
    from .listener import JobListener

__all__ = ["Body", "Connection", "Database", "Row", "T", "missing_file", "open_database", "text_as_it_is"]

T = TypeVar("T")
Body = Callable[[Connection], T]


class Database(Protocol):
    """What the store needs of a database, whichever it is."""

    shares_work: bool
    """Whether several processes are expected at this database."""

    async def read(self, body: Body[T]) -> T: ...

    async def write(self, body: Body[T], *, durable: bool = True) -> T:
        """Run `body` in one transaction; it is durable when this returns. Raises StorageUnavailable.

        Not `durable`: the machine's loss of power may undo it, which then must harm nobody. Nothing else
        undoes it, and it is several times faster: nobody waits for the disk.
        """
        ...

    async def stamp(self) -> str:
        """Differs from an earlier one when something was committed meanwhile, by whichever process.

        The other way round it proves nothing. Cheap enough to be asked several times a second.
        """
        ...

    def listener(self, wakeup: Wakeup) -> JobListener | None:
        """What wakes us for other processes' jobs; None where only polling finds them."""
        ...

    async def scrub(self) -> None:
        """See to it that what was deleted stands in no file of ours any more (guarantee 6)."""
        ...

    def run_sync(self, body: Body[T]) -> T:
        """Run `body` in one transaction from synchronous code (migrations, command line)."""
        ...

    async def close(self) -> None: ...


def open_database(url: str) -> Database:
    """Open `sqlite:///path` or `postgresql://...`. Raises SettingsError for anything else.

    Either one's driver takes long to load, so only the one that is asked for is.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        from .sqlite import SqliteDatabase

        return SqliteDatabase(url)
    if scheme in ("postgresql", "postgres"):
        from .postgres import PostgresDatabase

        return PostgresDatabase(url)
    raise SettingsError(f"DATABASE_URL takes sqlite:///path or postgresql://..., not {scheme}://")


def missing_file(url: str) -> Path | None:
    """The SQLite file that is not there yet; None where there is one, and for a server."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    path = Path(parsed.database)
    return None if path.exists() else path


def text_as_it_is(value: Any) -> Any:
    """JSON columns carry text (types.JsonText): nothing to (de)serialize."""
    return value
