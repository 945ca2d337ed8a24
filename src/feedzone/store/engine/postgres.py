"""Run the database on a PostgreSQL server that several processes and machines share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ...errors import StorageUnavailable
from ...ports import Wakeup
from .interface import ANSWER_S, Body, T
from .last_step import run_body
from .listener import JobListener
from .opener import Opener
from .pool import ConnectionPool, Pooled, discard
from .postgres_failures import FAILED_OVER, UNPREPARED, explained, is_outage, is_retryable, state_of
from .server_url import parse_server_url
from .vacuum import Vacuum

TRIES = 5

POOL_SIZE = 6
"""Connections of one process at most, beside the listener's."""

LOCK_TIMEOUT_S = 5.0
"""A transaction that waits longer than this for a row or a table fails with StorageUnavailable."""

STATEMENT_S = 10.0
"""The server ends a statement that takes longer."""


class PostgresDatabase:
    """PostgreSQL through asyncpg. Bodies run in SQLAlchemy's greenlet, so they are plain functions."""

    shares_work = True

    def __init__(
        self, url: str, *, pool_size: int = POOL_SIZE, lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        self.url = parse_server_url(url)
        self._settings = {
            "lock_timeout": str(round(lock_timeout_s * 1000)),
            "statement_timeout": str(round(STATEMENT_S * 1000)),
            # The server ends a transaction whose client fell silent: it may hold locks that all need.
            "idle_in_transaction_session_timeout": str(round(STATEMENT_S * 1000)),
        }
        self._opener = Opener(self.url, self._settings)
        self._pool = ConnectionPool(self._open, self._opener.is_scarce, pool_size)
        self._running: set[asyncio.Task[Any]] = set()
        self._vacuum = Vacuum(self.url)

    async def read(self, body: Body[T]) -> T:
        # Each statement sees its own moment anyway (READ COMMITTED), so reads need no BEGIN and COMMIT.
        return await self._run(body, {}, reading=True, alone=True)

    async def write(
        self, body: Body[T], *, durable: bool = True, within_s: float | None = None, alone: bool = False
    ) -> T:
        settings = {} if durable or alone else {"synchronous_commit": "off"}
        return await self._run(body, settings, within_s, alone=alone)

    async def data_version(self) -> str:
        # The position in the write-ahead log. Other databases on the server advance it, too.
        position = text("SELECT pg_current_wal_insert_lsn()::text")
        return await self.read(lambda c: str(c.execute(position).scalar_one()))

    def listener(self, jobs: Wakeup, events: Wakeup) -> JobListener | None:
        return JobListener(self.url, jobs, events)

    async def erase_deleted(self) -> None:
        """Start a vacuum, and do not wait for it. WAL and backups are the operator's (docs/operating.md)."""
        self._vacuum.start()

    async def _run(
        self,
        body: Body[T],
        settings: Mapping[str, str],
        within_s: float | None = None,
        *,
        reading: bool = False,
        alone: bool = False,
    ) -> T:
        """Run the transaction in a task of its own: it goes on to its end if the caller is cancelled."""
        run = _Run(reading, alone)
        task = asyncio.create_task(self._retried(run, body, settings), name="transaction")
        self._running.add(task)
        task.add_done_callback(self._ended)
        if within_s is None:
            return await asyncio.shield(task)
        await asyncio.wait([task], timeout=within_s)
        if not task.done():
            self._cut(run, task)
            raise StorageUnavailable(f"PostgreSQL: not committed within {within_s:g} s")
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not read it

    def _cut(self, run: _Run, task: asyncio.Task[Any]) -> None:
        """End a transaction that takes too long. Cancelling it would ask the server, which may be silent."""
        run.is_cut = True
        if run.pooled is None:
            task.cancel()
        else:
            run.pooled.raw.terminate()
        self._pool.drop_idle()

    async def _retried(self, run: _Run, body: Body[T], settings: Mapping[str, str]) -> T:
        for attempt in range(1, TRIES + 1):
            run.is_committing = False
            try:
                async with self._pool.room(reading=run.reading):
                    return await self._once(run, body, settings)
            except DBAPIError as problem:
                again = is_retryable(problem) or self._is_stale(problem, run, attempt)
                if again and attempt < TRIES and not run.is_cut:
                    await asyncio.sleep(random.uniform(0.005, 0.05) * attempt)  # noqa: S311  (spreads retries)
                    continue
                if is_outage(problem):
                    raise StorageUnavailable(f"PostgreSQL: {explained(problem)}") from problem
                raise
            except (OSError, TimeoutError) as problem:
                raise StorageUnavailable(f"PostgreSQL: no answer within {ANSWER_S:g} s") from problem
        raise AssertionError("unreachable")

    def _is_stale(self, problem: DBAPIError, run: _Run, attempt: int) -> bool:
        """Return whether the connection is at fault and nothing was committed: one more try may work."""
        state = state_of(problem)
        if state in FAILED_OVER or state in UNPREPARED:
            if state in UNPREPARED and not self._opener.has_pooler:
                self._opener.note_pooler()
            self._pool.drop_idle()
            return True
        return problem.connection_invalidated and not run.is_committing and attempt == 1

    async def _once(self, run: _Run, body: Body[T], settings: Mapping[str, str]) -> T:
        run.pooled = pooled = await self._pool.take()
        settings = {**self._settings, **settings} if self._opener.has_pooler else settings
        alone = run.alone and not settings

        def transaction(connection: Connection) -> T:
            driver: Any = connection.connection.dbapi_connection
            driver.autocommit = alone
            run.is_committing = alone and not run.reading
            pooled.raw.settings = settings
            result = run_body(connection, body)
            run.is_committing = True
            connection.commit()
            return result

        try:
            result = await pooled.connection.run_sync(transaction)
        except BaseException as problem:
            run.pooled = None
            await self._after_failure(pooled, problem)
            raise
        run.pooled = None
        await self._pool.give_back(pooled)
        return result

    async def _after_failure(self, pooled: Pooled, problem: BaseException) -> None:
        """Roll back and keep the connection, unless the connection itself is at fault."""
        state = state_of(problem)
        fit = not pooled.raw.is_closed() and not state.startswith(("08", "57P", "25006", "26", "42P05"))
        if fit and isinstance(problem, Exception) and not isinstance(problem, (OSError, TimeoutError)):
            try:
                await pooled.connection.rollback()
            except Exception:  # noqa: S110  (the first error says more)
                pass
            else:
                await self._pool.give_back(pooled)
                return
        await self._pool.give_up(pooled)

    async def _open(self) -> Pooled:
        return await self._opener.open(ANSWER_S)

    def run_sync(self, body: Body[T], *, answer_s: float | None = ANSWER_S) -> T:
        async def once() -> T:
            pooled = await Opener(self.url, self._settings).open_patiently(answer_s)
            try:
                return await pooled.connection.run_sync(lambda c: _committed(c, body))
            except DBAPIError as problem:
                if is_outage(problem):
                    raise StorageUnavailable(f"PostgreSQL: {explained(problem)}") from problem
                raise
            except (OSError, TimeoutError) as problem:
                raise StorageUnavailable(f"PostgreSQL: no answer within {answer_s} s") from problem
            finally:
                await discard(pooled)

        # Alembic is synchronous. A thread of its own gives it an event loop, wherever it is called from.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, once()).result()

    async def close(self) -> None:
        await self._vacuum.finish()
        if self._running:
            await asyncio.wait(list(self._running), timeout=ANSWER_S)
        await self._pool.close()


@dataclass
class _Run:
    """The state of one transaction. `is_committing`: its commit was sent, so it must not run again."""

    reading: bool
    alone: bool
    pooled: Pooled | None = None
    is_committing = False
    is_cut = False


def _committed(connection: Connection, body: Body[T]) -> T:
    result = run_body(connection, body)
    connection.commit()
    return result
