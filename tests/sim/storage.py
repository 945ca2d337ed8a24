"""SQLite without threads: the project's own engine and pragmas, a transaction at once, on the loop's thread.

A transaction is atomic in any case, so what is simulated is everything around it: other tasks and kills come
before and after it, and sometimes the database is busy.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from feedzone.errors import StorageUnavailable
from feedzone.ports import Wakeup
from feedzone.store.engine.database import Body, T
from feedzone.store.engine.sqlite import SqliteDatabase
from feedzone.store.quota.call_log import MAX_AGE
from feedzone.store.schema import upgrade

from .loop import VirtualLoop
from .witness import Witness

MEMORY = Path("/dev/shm")


def workplace() -> Path:
    """A folder for database files: in memory where the system has that, for nothing here must survive."""
    return Path(tempfile.mkdtemp(prefix="feedzone-sim-", dir=MEMORY if MEMORY.is_dir() else None))


def make_template(folder: Path) -> Path:
    """A database with the schema and nothing else: made once, copied for each seed."""
    path = folder / "template.db"
    database = SqliteDatabase(f"sqlite:///{path}")
    upgrade.prepare(database)
    database.run_sync(lambda c: c.exec_driver_sql("PRAGMA user_version"))
    database._write_engine.dispose()
    database._brisk_engine.dispose()
    database._read_engine.dispose()
    database._writer.shutdown()
    return path


@cache
def _database(path: Path) -> SqliteDatabase:
    """One for all worlds that use this path, one after the other: it remembers what statements compile to."""
    return SqliteDatabase(f"sqlite:///{path}")


def _let_be(_connection: object) -> None:
    """Begin nothing."""


class File:
    """The database file that all processes of a world share."""

    def __init__(self, template: Path, path: Path, loop: VirtualLoop) -> None:
        shutil.copyfile(template, path)
        self.path = path
        self._database = _database(path)
        engine = self._database._write_engine
        # SQLAlchemy takes the whole life of the connection for one transaction. Those of the engine are begun
        # and ended beneath, as the project's own does it, but at a quarter of what it costs.
        setattr(engine.dialect, "do_begin", _let_be)  # noqa: B010  (to mypy, a method)
        self._connection = engine.connect()
        raw = self._connection.connection.driver_connection
        raw.execute("PRAGMA synchronous=OFF")  # only the machine's power would need it, and that stays on
        raw.execute("PRAGMA wal_autocheckpoint=0")
        self._raw = raw
        self.witness = Witness(raw, loop)
        self.transactions = 0
        self._waiters: list[asyncio.Future[None]] = []

    def read(self, body: Callable[[Any], T]) -> T:
        """Nobody writes meanwhile, so there is nothing to begin."""
        self.transactions += 1
        return body(self._connection)

    def run(self, body: Callable[[Any], T]) -> T:
        self.transactions += 1
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            result = body(self._connection)
            self._raw.commit()
        except OperationalError as problem:
            raise StorageUnavailable(f"SQLite: {problem.orig}") from problem
        else:
            return result
        finally:
            self._raw.rollback()  # nothing, after a commit
            if self._waiters and not self.idle():
                waiters, self._waiters = self._waiters, []
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)

    def idle(self) -> bool:
        """Whether no job is leased."""
        query = "SELECT 1 FROM jobs WHERE state = 'running' LIMIT 1"
        return self._raw.execute(query).fetchone() is None

    async def until_leased(self) -> None:
        """Return as soon as some job is leased."""
        if self.idle():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def next_comparison(self) -> datetime | None:
        """When the next athlete is to be compared with Strava, or their gear to be asked for, or a dead
        letter to be tried again."""
        query = (
            "SELECT min(due) FROM (SELECT min(min(reconcile_due_at, iif(scopes LIKE '%profile:read_all%', "
            "gear_due_at, reconcile_due_at))) AS due FROM strava_athletes WHERE status = 'active' "
            "UNION ALL SELECT min(due_at) FROM jobs WHERE state = 'dead' "
            "AND error_class IN ('no_answer', 'strava_error', 'rate_limited'))"
        )
        (due,) = self._raw.execute(query).fetchone()
        return datetime.fromisoformat(due) if due else None

    def has_old_calls(self, now: datetime) -> bool:
        """Whether the journal holds what may go."""
        (first,) = self._raw.execute("SELECT min(sent_at) FROM api_calls").fetchone()
        return first is not None and datetime.fromisoformat(first) < now - MAX_AGE

    def close(self) -> None:
        self._connection.close()
        self._database._write_engine.dispose()
        self._database._read_engine.dispose()


class InlineDatabase:
    """A process's handle of the file (store.database.Database). `pause` is where others get a turn."""

    shares_work = False

    def __init__(
        self, file: File, pause: Callable[[], Awaitable[None]], rng: random.Random, busy: Callable[[], float]
    ) -> None:
        self._file = file
        self._pause = pause
        self._rng = rng
        self._busy = busy

    async def read(self, body: Body[T]) -> T:
        return await self._between_pauses(self._file.read, body)

    async def write(self, body: Body[T], *, durable: bool = True) -> T:
        if (rate := self._busy()) and self._rng.random() < rate:
            await self._pause()
            raise StorageUnavailable("SQLite: database is locked")
        return await self._between_pauses(self._file.run, body)

    async def _between_pauses(self, run: Callable[[Body[T]], T], body: Body[T]) -> T:
        await self._pause()
        try:
            return run(body)
        finally:
            await self._pause()

    def listener(self, wakeup: Wakeup) -> None:
        """Processes here find each other's jobs by polling."""

    async def scrub(self) -> None:
        """Nobody reads this file but we."""

    def run_sync(self, body: Body[T]) -> T:
        return self._file.run(body)

    async def close(self) -> None:
        """The file is everybody's."""
