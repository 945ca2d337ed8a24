"""Run the database on a PostgreSQL server that several processes and machines share."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ...errors import StorageUnavailable
from ...ports import Wakeup
from .interface import Body, T
from .last_step import run_body
from .listener import JobListener
from .types import pass_through

TRIES = 5

FAST_COMMIT_POOL_SIZE = 2

LOCK_TIMEOUT_S = 10.0
"""A transaction that waits longer than this for a row or a table fails with StorageUnavailable."""


class PostgresDatabase:
    """PostgreSQL through asyncpg. Bodies run in SQLAlchemy's greenlet, so they are plain functions."""

    shares_work = True

    def __init__(self, url: str, *, pool_size: int = 8, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.url = make_url(url).set(drivername="postgresql+asyncpg")
        self._settings = {"lock_timeout": str(round(lock_timeout_s * 1000))}
        self._engine = self._open(pool_size)
        # Two connections are enough: writes that do not wait for the disk wait for each other's row locks.
        self._fast_commit_engine = self._open(FAST_COMMIT_POOL_SIZE, ping=False, synchronous_commit="off")

    def _open(self, pool_size: int, *, ping: bool = True, **options: str) -> AsyncEngine:
        return create_async_engine(
            self.url,
            json_serializer=pass_through,
            json_deserializer=pass_through,
            hide_parameters=True,  # errors end up in logs, which must not keep personal data
            pool_size=pool_size,
            pool_pre_ping=ping,
            connect_args={"timeout": 10, "server_settings": self._settings | options},
        )

    async def read(self, body: Body[T]) -> T:
        return await self._run(self._engine, body)

    async def write(self, body: Body[T], *, durable: bool = True) -> T:
        return await self._run(self._engine if durable else self._fast_commit_engine, body)

    async def data_version(self) -> str:
        # The position in the write-ahead log. Other databases on the server advance it, too.
        position = text("SELECT pg_current_wal_insert_lsn()::text")
        return await self.read(lambda c: str(c.execute(position).scalar_one()))

    def listener(self, wakeup: Wakeup) -> JobListener:
        return JobListener(self.url, wakeup)

    async def erase_deleted(self) -> None:
        """Do nothing: the operator runs the server's vacuum and archive (docs/operating.md)."""

    async def _run(self, engine: AsyncEngine, body: Body[T]) -> T:
        for attempt in range(1, TRIES + 1):
            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(run_body, body)
            except DBAPIError as problem:
                # Without a ping, the first statement is the one that notices a restarted server.
                stale = engine is not self._engine and problem.connection_invalidated
                if not (_is_retryable(problem) or stale) or attempt == TRIES:
                    if _is_outage(problem):
                        raise StorageUnavailable(f"PostgreSQL: {problem.orig}") from problem
                    raise
            except OSError as problem:
                raise StorageUnavailable(f"PostgreSQL cannot be reached: {problem}") from problem
            await asyncio.sleep(random.uniform(0.005, 0.05) * attempt)  # noqa: S311  (spreads retries)
        raise AssertionError("unreachable")

    def run_sync(self, body: Body[T]) -> T:
        async def once() -> T:
            engine = create_async_engine(
                self.url, json_serializer=pass_through, json_deserializer=pass_through, hide_parameters=True
            )
            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(run_body, body)
            except OSError as problem:
                raise StorageUnavailable(f"PostgreSQL cannot be reached: {problem}") from problem
            finally:
                await engine.dispose()

        # Alembic is synchronous. A thread of its own gives it an event loop, wherever it is called from.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, once()).result()

    async def close(self) -> None:
        await self._engine.dispose()
        await self._fast_commit_engine.dispose()


def _is_outage(problem: DBAPIError) -> bool:
    """Return True when the server is at fault, not this transaction.

    The connection is lost, the database does not exist, resources ran out, a lock timed out, or the server
    shuts down.
    """
    state = getattr(problem.orig, "sqlstate", None) or ""
    operational = isinstance(problem, (OperationalError, InterfaceError)) or problem.connection_invalidated
    return operational or state.startswith(("08", "3D", "53", "55P03", "57"))


def _is_retryable(problem: DBAPIError) -> bool:
    """Return True for a deadlock or serialization failure: PostgreSQL rolled back and expects a retry."""
    return getattr(problem.orig, "sqlstate", None) in ("40P01", "40001")
