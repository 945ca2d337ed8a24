"""Keep the database in a SQLite file, so that there is no server to install or run."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from ...errors import SettingsError, StorageUnavailable
from ...ports import Wakeup
from .interface import ANSWER_S, Body, T
from .last_step import run_body
from .types import pass_through

BUSY_MS = 5000
"""How long SQLite waits for another process's write before it reports "busy", in milliseconds."""

CHECKPOINT_TIMEOUT_S = 0.5

WAL_TRIES = 20


class SqliteDatabase:
    """SQLite in WAL mode with one writer.

    Differs from PostgreSQL because SQLite locks the whole file: writes queue here, in one thread,
    instead of failing with "database is locked". BEGIN IMMEDIATE takes the lock at the start, so that a
    transaction never fails halfway. With `synchronous=FULL`, an event that was answered with 200 survives a
    power cut.
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
        self._fast_commit_engine = self._engine("IMMEDIATE", synchronous="NORMAL")
        self._read_engine = self._engine("DEFERRED")
        self._version_connection: sqlite3.Connection | None = None

    def _engine(self, begin: str, synchronous: str = "FULL") -> Engine:
        engine = create_engine(
            f"sqlite:///{self.path}",
            json_serializer=pass_through,
            json_deserializer=pass_through,
            hide_parameters=True,  # errors end up in logs, which must not keep personal data
            pool_size=4,
            connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False, "isolation_level": None},
        )

        @event.listens_for(engine, "connect")
        def _prepare(connection: sqlite3.Connection, _record: object) -> None:
            _use_wal(connection)
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute("PRAGMA foreign_keys=ON")
            # SQLite overwrites deleted rows, so that a disconnected athlete's data is gone (guarantee 6).
            connection.execute("PRAGMA secure_delete=ON")

        def _begin(connection: Any) -> None:
            connection.driver_connection.execute(f"BEGIN {begin}")

        # The driver never begins a transaction by itself (isolation_level=None). A listener for "begin"
        # would also work, but then SQLAlchemy would look for listeners at every statement.
        setattr(engine.dialect, "do_begin", _begin)  # noqa: B010  (to mypy, a method)
        return engine

    async def read(self, body: Body[T]) -> T:
        return await self._run(self._readers, self._read_engine, body)

    async def write(
        self,
        body: Body[T],
        *,
        durable: bool = True,
        within_s: float | None = None,
        alone: bool = False,  # noqa: ARG002  (BEGIN is no round trip)
    ) -> T:
        engine = self._write_engine if durable else self._fast_commit_engine
        try:
            async with asyncio.timeout(within_s):
                return await self._run(self._writer, engine, body)
        except TimeoutError:
            raise StorageUnavailable(f"SQLite: not committed within {within_s:g} s") from None

    async def _run(self, pool: ThreadPoolExecutor, engine: Engine, body: Body[T]) -> T:
        # A transaction that has begun runs to its end even if the caller is cancelled.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(pool, _transaction, engine, body))

    async def data_version(self) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_data_version)

    def _read_data_version(self) -> str:
        # SQLite counts only the commits of other connections, so this connection is used for nothing else.
        try:
            if self._version_connection is None:
                self._version_connection = sqlite3.connect(
                    self.path, check_same_thread=False, timeout=BUSY_MS / 1000
                )
            return str(self._version_connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as problem:
            raise StorageUnavailable(f"SQLite: {problem}") from problem

    def listener(self, jobs: Wakeup, events: Wakeup) -> None:  # noqa: ARG002  (SQLite cannot notify processes)
        return None

    async def erase_deleted(self) -> None:
        """Empty the write-ahead log, which keeps old pages until then.

        Wait only a short time for readers: the pruner tries again later.
        """
        await asyncio.get_running_loop().run_in_executor(self._writer, self._truncate_wal)

    def _truncate_wal(self) -> None:
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(self.path, timeout=CHECKPOINT_TIMEOUT_S)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def run_sync(self, body: Body[T], *, answer_s: float | None = ANSWER_S) -> T:  # noqa: ARG002  (BUSY_MS)
        return self._writer.submit(_transaction, self._write_engine, body).result()

    async def close(self) -> None:
        for pool in (self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        for engine in (self._write_engine, self._fast_commit_engine, self._read_engine):
            engine.dispose()
        if self._version_connection is not None:
            self._version_connection.close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn on WAL mode, and retry: SQLite itself does not wait for other processes that do the same."""
    for attempt in range(1, WAL_TRIES + 1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as problem:
            busy = problem.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if attempt == WAL_TRIES or not busy:
                raise
            time.sleep(0.02 * attempt)
        else:
            return


def _transaction(engine: Engine, body: Body[T]) -> T:
    try:
        with engine.begin() as connection:
            return run_body(connection, body)
    except DatabaseError as problem:
        remedy = _remedy(problem.orig, Path(engine.url.database or ""))
        if remedy is None and not isinstance(problem, OperationalError):
            raise
        raise StorageUnavailable(f"SQLite: {remedy or problem.orig}") from problem


def _remedy(problem: BaseException | None, path: Path) -> str | None:
    """Say in one line what is wrong with the file and what to do; None: SQLite's own words say enough."""
    match getattr(problem, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is not a SQLite database: correct DATABASE_URL"
        case sqlite3.SQLITE_CORRUPT:
            return f"{path} is damaged: restore a backup"
        case sqlite3.SQLITE_CANTOPEN if path.is_dir():
            return f"{path} is a folder: name a file in it in DATABASE_URL"
        case sqlite3.SQLITE_CANTOPEN:
            return f"{path} cannot be opened: check the rights of the user that runs feedzone on its folder"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return (
                f"{path} cannot be written: the user that runs feedzone needs that right on file and folder"
            )
        case sqlite3.SQLITE_FULL:
            return f"the disk of {path} is full: free space"
    return None
