"""The database: one way to read, one way to write, on SQLite and on PostgreSQL.

A transaction is a plain function over a SQLAlchemy `Connection`. It cannot await, so no transaction
can span an HTTP call, and on SQLite the whole transaction is one hop to one thread instead of one hop
per statement (docs/decisions/0002-transactions-are-functions.md). A body may run again after a
deadlock or a busy database, so it must not change anything but the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..errors import SettingsError, StorageUnavailable

__all__ = ["Connection", "Database", "PostgresDatabase", "SqliteDatabase", "open_database"]

T = TypeVar("T")
Body = Callable[[Connection], T]

BUSY_MS = 5000
"""How long SQLite waits for another process's write before it says busy."""

SCRUB_S = 0.5

TRIES = 5

BRISK = 2


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

    async def at_once(self, body: Body[bool]) -> bool:
        """Run one statement in a transaction of its own, which is not durable; False, having done nothing,
        where that is no faster than `write`."""
        ...

    async def stamp(self) -> str:
        """Differs from an earlier one when something was committed meanwhile, by whichever process.

        The other way round it proves nothing. Cheap enough to be asked several times a second.
        """
        ...

    async def scrub(self) -> None:
        """See to it that what was deleted stands in no file of ours any more (guarantee 6)."""
        ...

    def run_sync(self, body: Body[T]) -> T:
        """Run `body` in one transaction from synchronous code (migrations, command line)."""
        ...

    async def close(self) -> None: ...


def open_database(url: str) -> Database:
    """Open `sqlite:///path` or `postgresql://...`. Raises SettingsError for anything else."""
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        return SqliteDatabase(url)
    if scheme in ("postgresql", "postgres"):
        return PostgresDatabase(url)
    raise SettingsError(f"DATABASE_URL takes sqlite:///path or postgresql://..., not {scheme}://")


def _text(value: Any) -> Any:
    """JSON columns carry text (types.JsonText): nothing to (de)serialize."""
    return value


class SqliteDatabase:
    """SQLite in WAL mode with one writer.

    Differs from PostgreSQL because SQLite locks the whole file: writes queue here, in one thread,
    instead of failing with "database is locked"; BEGIN IMMEDIATE takes the lock at once, so that a
    transaction never has to give up half way. `synchronous=FULL`: an answered 200 survives a power cut.
    """

    shares_work = False

    def __init__(self, url: str, *, readers: int = 2) -> None:
        path = make_url(url).database
        if not path or path == ":memory:":
            raise SettingsError("DATABASE_URL: a SQLite database needs a file: sqlite:///path/to/feedzone.db")
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise SettingsError(
                f"DATABASE_URL: cannot create {self.path.parent}: {problem.strerror}"
            ) from None
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._readers = ThreadPoolExecutor(readers, "sqlite-reader")
        self._write_engine = self._engine("IMMEDIATE")
        self._brisk_engine = self._engine("IMMEDIATE", synchronous="NORMAL")
        self._read_engine = self._engine("DEFERRED")
        self._watcher: sqlite3.Connection | None = None

    def _engine(self, begin: str, synchronous: str = "FULL") -> Engine:
        engine = create_engine(
            f"sqlite:///{self.path}",
            json_serializer=_text,
            json_deserializer=_text,
            hide_parameters=True,  # an error may stand in logs, which outlive who is in it
            pool_size=4,
            connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False, "isolation_level": None},
        )

        @event.listens_for(engine, "connect")
        def _prepare(connection: sqlite3.Connection, _record: object) -> None:
            _use_wal(connection)
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute("PRAGMA foreign_keys=ON")
            # What an athlete's leaving deletes is overwritten, not only unlinked (guarantee 6).
            connection.execute("PRAGMA secure_delete=ON")

        def _begin(connection: Any) -> None:
            connection.driver_connection.execute(f"BEGIN {begin}")

        # The driver begins nothing by itself (isolation_level=None). A listener for "begin" would do
        # it, too, but then SQLAlchemy looks for listeners at every statement.
        setattr(engine.dialect, "do_begin", _begin)  # noqa: B010  (to mypy, a method)
        return engine

    async def read(self, body: Body[T]) -> T:
        return await self._in(self._readers, self._read_engine, body)

    async def write(self, body: Body[T], *, durable: bool = True) -> T:
        engine = self._write_engine if durable else self._brisk_engine
        return await self._in(self._writer, engine, body)

    async def at_once(self, body: Body[bool]) -> bool:  # noqa: ARG002  (each statement is as fast as any)
        return False

    async def _in(self, pool: ThreadPoolExecutor, engine: Engine, body: Body[T]) -> T:
        # A transaction that was begun runs to its end even when the caller is cancelled.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(pool, _transaction, engine, body))

    async def stamp(self) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._stamp)

    def _stamp(self) -> str:
        # The number tells a connection of the commits of others: so it is one that is used for nothing else.
        try:
            if self._watcher is None:
                self._watcher = sqlite3.connect(self.path, check_same_thread=False, timeout=BUSY_MS / 1000)
            return str(self._watcher.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"SQLite: {problem}") from problem

    async def scrub(self) -> None:
        """Old pages stand in the write-ahead log until it is emptied. Whoever reads meanwhile is not waited
        for long: the pruner comes again."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._empty_log)

    def _empty_log(self) -> None:
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(self.path, timeout=SCRUB_S)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def run_sync(self, body: Body[T]) -> T:
        return self._writer.submit(_transaction, self._write_engine, body).result()

    async def close(self) -> None:
        for pool in (self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        for engine in (self._write_engine, self._brisk_engine, self._read_engine):
            engine.dispose()
        if self._watcher is not None:
            self._watcher.close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turning WAL on does not wait for other processes that do the same; so we do."""
    for attempt in range(1, TRIES * 4 + 1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == TRIES * 4:
                raise
            time.sleep(0.02 * attempt)
        else:
            return


def _transaction(engine: Engine, body: Body[T]) -> T:
    try:
        with engine.begin() as connection:
            return body(connection)
    except OperationalError as problem:
        raise StorageUnavailable(f"SQLite: {problem.orig}") from problem


class PostgresDatabase:
    """PostgreSQL through asyncpg. Bodies run in SQLAlchemy's greenlet, so they read as plain functions."""

    shares_work = True

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = make_url(url).set(drivername="postgresql+asyncpg")
        self._engine = self._open(pool_size)
        # Those who write without waiting for the disk wait for each other's rows: two connections will do.
        self._brisk_engine = self._open(BRISK, ping=False, synchronous_commit="off")
        # To begin and to end a transaction are ways to the server and back.
        self._lone_engine = self._brisk_engine.execution_options(isolation_level="AUTOCOMMIT")

    def _open(self, pool_size: int, *, ping: bool = True, **options: str) -> AsyncEngine:
        return create_async_engine(
            self.url,
            json_serializer=_text,
            json_deserializer=_text,
            hide_parameters=True,  # an error may stand in logs, which outlive who is in it
            pool_size=pool_size,
            pool_pre_ping=ping,
            connect_args={"timeout": 10, "server_settings": options},
        )

    async def read(self, body: Body[T]) -> T:
        return await self._run(self._engine, body)

    async def write(self, body: Body[T], *, durable: bool = True) -> T:
        return await self._run(self._engine if durable else self._brisk_engine, body)

    async def at_once(self, body: Body[bool]) -> bool:
        return await self._run(self._lone_engine, body)

    async def stamp(self) -> str:
        # Where the log is written to; also other databases of the server write there.
        position = text("SELECT pg_current_wal_insert_lsn()::text")
        return await self.read(lambda c: str(c.execute(position).scalar_one()))

    async def scrub(self) -> None:
        """The server's own vacuum and archive are its operator's (docs/operating.md)."""

    async def _run(self, engine: AsyncEngine, body: Body[T]) -> T:
        for attempt in range(1, TRIES + 1):
            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(body)
            except DBAPIError as problem:
                # Without a ping it is the first statement that finds the server restarted.
                stale = engine is not self._engine and problem.connection_invalidated
                if not (_lost_a_race(problem) or stale) or attempt == TRIES:
                    if _cannot_serve(problem):
                        raise StorageUnavailable(f"PostgreSQL: {problem.orig}") from problem
                    raise
            except OSError as problem:
                raise StorageUnavailable(f"PostgreSQL cannot be reached: {problem}") from problem
            await asyncio.sleep(random.uniform(0.005, 0.05) * attempt)  # noqa: S311  (spreads retries)
        raise AssertionError("unreachable")

    def run_sync(self, body: Body[T]) -> T:
        async def once() -> T:
            engine = create_async_engine(
                self.url, json_serializer=_text, json_deserializer=_text, hide_parameters=True
            )
            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(body)
            except OSError as problem:
                raise StorageUnavailable(f"PostgreSQL cannot be reached: {problem}") from problem
            finally:
                await engine.dispose()

        # Alembic is synchronous; its own thread gives it an event loop wherever it is called from.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, once()).result()

    async def close(self) -> None:
        await self._engine.dispose()
        await self._brisk_engine.dispose()


def _cannot_serve(problem: DBAPIError) -> bool:
    """Connection lost, no such database, out of resources, shutting down: not this transaction's fault."""
    state = getattr(problem.orig, "sqlstate", None) or ""
    operational = isinstance(problem, (OperationalError, InterfaceError)) or problem.connection_invalidated
    return operational or state.startswith(("08", "3D", "53", "57"))


def _lost_a_race(problem: DBAPIError) -> bool:
    """Deadlock or serialization failure: PostgreSQL rolled back, and asks to be tried again."""
    return getattr(problem.orig, "sqlstate", None) in ("40P01", "40001")
