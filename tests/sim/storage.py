"""SQLite without threads: the project's engine runs each transaction at once on the loop's thread.

A transaction is atomic in any case. So the simulation lets other tasks run, or kills the process, only before
and after it. Sometimes the database is busy.
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
from feedzone.store.engine.last_step import run_body
from feedzone.store.engine.sqlite import SqliteDatabase
from feedzone.store.quota.call_log import MAX_AGE
from feedzone.store.schema import upgrade

from .loop import VirtualLoop
from .witness import Witness

MEMORY_FOLDER = Path("/dev/shm")


def workplace() -> Path:
    """Create a folder for database files, in memory if the system has /dev/shm: no file must survive."""
    return Path(
        tempfile.mkdtemp(prefix="feedzone-sim-", dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None)
    )


def make_template(folder: Path) -> Path:
    """Create an empty database with the schema. Each seed starts with a copy of it."""
    path = folder / "template.db"
    database = SqliteDatabase(f"sqlite:///{path}")
    upgrade.prepare(database)
    database.run_sync(lambda c: c.exec_driver_sql("PRAGMA user_version"))
    database._write_engine.dispose()
    database._fast_commit_engine.dispose()
    database._read_engine.dispose()
    database._writer.shutdown()
    return path


@cache
def _database(path: Path) -> SqliteDatabase:
    """Return the database that all worlds at this path share in turn: it caches compiled statements."""
    return SqliteDatabase(f"sqlite:///{path}")


def _skip_begin(_connection: object) -> None:
    """Do nothing: `File.run` begins transactions itself."""


class File:
    """The database file that all processes of a world share."""

    def __init__(self, template: Path, path: Path, loop: VirtualLoop) -> None:
        shutil.copyfile(template, path)
        self.path = path
        self._database = _database(path)
        engine = self._database._write_engine
        # For SQLAlchemy the connection is one long transaction. `run` begins and commits the real ones on the
        # driver's connection, which has the same effect at a quarter of the cost.
        setattr(engine.dialect, "do_begin", _skip_begin)  # noqa: B010  (mypy forbids to assign to a method)
        self._connection = engine.connect()
        raw = self._connection.connection.driver_connection
        raw.execute("PRAGMA synchronous=OFF")  # only a power failure would need it
        raw.execute("PRAGMA wal_autocheckpoint=0")
        self._raw = raw
        self.witness = Witness(raw, loop)
        self.transactions = 0
        self.writes = 0
        self._waiters: list[asyncio.Future[None]] = []

    def read(self, body: Callable[[Any], T]) -> T:
        """Run a read. All tasks share one thread, so no write can interfere, and it needs no transaction."""
        self.transactions += 1
        return body(self._connection)

    def run(self, body: Callable[[Any], T]) -> T:
        self.transactions += 1
        self.writes += 1
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            result = run_body(self._connection, body)
            self._raw.commit()
        except OperationalError as problem:
            raise StorageUnavailable(f"SQLite: {problem.orig}") from problem
        else:
            return result
        finally:
            self._raw.rollback()  # no effect after a commit
            if self._waiters and not self.idle():
                waiters, self._waiters = self._waiters, []
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)

    def idle(self) -> bool:
        """Return whether no job is leased."""
        query = "SELECT 1 FROM jobs WHERE state = 'running' LIMIT 1"
        return self._raw.execute(query).fetchone() is None

    async def until_leased(self) -> None:
        """Wait until a job is leased."""
        if self.idle():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def next_due(self) -> datetime | None:
        """Return when the next reconciliation, gear refresh, deadline or automatic retry is due."""
        query = (
            "SELECT min(due) FROM (SELECT min(min(reconcile_due_at, iif(scopes LIKE '%profile:read_all%', "
            "gear_due_at, reconcile_due_at))) AS due FROM strava_athletes WHERE status = 'active' "
            "UNION ALL SELECT min(leaves_at) FROM strava_athletes WHERE status = 'leaving' "
            "UNION ALL SELECT min(due_at) FROM jobs WHERE state = 'dead' "
            "AND error_class IN ('no_answer', 'strava_error', 'rate_limited'))"
        )
        (due,) = self._raw.execute(query).fetchone()
        return datetime.fromisoformat(due) if due else None

    def has_old_rows(self, now: datetime) -> bool:
        """Return whether the pruner would delete rows of the call log or of the allowances."""
        query = "SELECT (SELECT min(sent_at) FROM call_log), (SELECT min(until) FROM athlete_allowances)"
        sent_at, until = self._raw.execute(query).fetchone()
        old_call = sent_at is not None and datetime.fromisoformat(sent_at) < now - MAX_AGE
        return old_call or (until is not None and datetime.fromisoformat(until) <= now)

    def close(self) -> None:
        self._connection.close()
        self._database._write_engine.dispose()
        self._database._read_engine.dispose()


class InlineDatabase:
    """A process's access to the file (store.engine.database.Database). `pause` lets other tasks run."""

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

    async def write(
        self, body: Body[T], *, durable: bool = True, within_s: float | None = None, **_: bool
    ) -> T:
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

    async def data_version(self) -> str:
        await self._pause()
        return str(self._file.writes)

    def listener(self, jobs: Wakeup, events: Wakeup) -> None:
        """Do nothing: processes find each other's jobs by polling."""

    async def erase_deleted(self) -> None:
        """Do nothing: the file is deleted after the world."""

    def run_sync(self, body: Body[T], *, answer_s: float | None = None) -> T:
        return self._file.run(body)

    async def close(self) -> None:
        """Do nothing: the world closes the shared file."""
