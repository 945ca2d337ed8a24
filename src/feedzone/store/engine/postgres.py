"""The database on a PostgreSQL server: several processes and machines share the work (database.Database)."""

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
from .database import Body, T, text_as_it_is
from .listener import JobListener

TRIES = 5

BRISK = 2

LOCK_TIMEOUT_S = 10.0
"""Whoever holds a row or a table for longer keeps nobody waiting for ever: who asks is told so."""


class PostgresDatabase:
    """PostgreSQL through asyncpg. Bodies run in SQLAlchemy's greenlet, so they read as plain functions."""

    shares_work = True

    def __init__(self, url: str, *, pool_size: int = 8, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.url = make_url(url).set(drivername="postgresql+asyncpg")
        self._settings = {"lock_timeout": str(round(lock_timeout_s * 1000))}
        self._engine = self._open(pool_size)
        # Those who write without waiting for the disk wait for each other's rows: two connections will do.
        self._brisk_engine = self._open(BRISK, ping=False, synchronous_commit="off")

    def _open(self, pool_size: int, *, ping: bool = True, **options: str) -> AsyncEngine:
        return create_async_engine(
            self.url,
            json_serializer=text_as_it_is,
            json_deserializer=text_as_it_is,
            hide_parameters=True,  # an error may stand in logs, which outlive who is in it
            pool_size=pool_size,
            pool_pre_ping=ping,
            connect_args={"timeout": 10, "server_settings": self._settings | options},
        )

    async def read(self, body: Body[T]) -> T:
        return await self._run(self._engine, body)

    async def write(self, body: Body[T], *, durable: bool = True) -> T:
        return await self._run(self._engine if durable else self._brisk_engine, body)

    async def stamp(self) -> str:
        # Where the log is written to; also other databases of the server write there.
        position = text("SELECT pg_current_wal_insert_lsn()::text")
        return await self.read(lambda c: str(c.execute(position).scalar_one()))

    def listener(self, wakeup: Wakeup) -> JobListener:
        return JobListener(self.url, wakeup)

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
                self.url, json_serializer=text_as_it_is, json_deserializer=text_as_it_is, hide_parameters=True
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
    """Connection lost, no such database, out of resources, locked, shutting down: not this transaction's
    fault."""
    state = getattr(problem.orig, "sqlstate", None) or ""
    operational = isinstance(problem, (OperationalError, InterfaceError)) or problem.connection_invalidated
    return operational or state.startswith(("08", "3D", "53", "55P03", "57"))


def _lost_a_race(problem: DBAPIError) -> bool:
    """Deadlock or serialization failure: PostgreSQL rolled back, and asks to be tried again."""
    return getattr(problem.orig, "sqlstate", None) in ("40P01", "40001")
