"""Open connections that SQLAlchemy can use: to a server, or to a connection pooler in front of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from .connecting import NoConnectionFree, PoolerBetween, Raw, connect
from .pool import Pooled
from .server_url import ServerUrl
from .types import pass_through

log = structlog.get_logger("feedzone.store")

KEEP_FREE = 3
"""While the server has fewer connections left, a process keeps only its first, so that others can begin."""

START_S = 10.0
"""How long a start waits for a free connection: other processes give theirs back meanwhile."""

_IDLE_SLOTS = """
SELECT least(
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL),
  (SELECT nullif(datconnlimit, -1)
    - (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())
   FROM pg_database WHERE datname = current_database()),
  (SELECT nullif(rolconnlimit, -1) - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user)
   FROM pg_roles WHERE rolname = current_user))
"""

_HAS_LOCK_TIMEOUT = "SELECT 1 / (setting = '{}')::int FROM pg_settings WHERE name = 'lock_timeout'"
"""Fails if it is not so. A statement without a result is not prepared, which a pooler may not support."""

_handed_over: ContextVar[Raw] = ContextVar("handed_over")
"""The connection that SQLAlchemy is about to wrap."""


class Opener:
    """Opens connections whose sessions have `settings`; where a pooler refuses them, sessions without."""

    def __init__(self, url: ServerUrl, settings: Mapping[str, str]) -> None:
        self.url = url
        self.settings = settings
        self.has_pooler = url.has_pooler
        self._engines: dict[bool, AsyncEngine] = {}

    async def open_patiently(self, answer_s: float | None) -> Pooled:
        """Open a connection; if the server has none free, wait for one."""
        until = time.monotonic() + START_S
        while True:
            try:
                return await self.open(answer_s)
            except NoConnectionFree:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def is_scarce(self, pooled: Pooled) -> bool:
        """Return whether the server has few connections left."""
        if self.has_pooler:
            return False
        left: int | None = await pooled.raw.fetchval(_IDLE_SLOTS)
        return left is not None and left < KEEP_FREE

    async def open(self, answer_s: float | None) -> Pooled:
        """Open a connection that must answer each statement within `answer_s`. Raises StorageUnavailable."""
        raw = await self._connected(answer_s)
        _handed_over.set(raw)
        try:
            connection = await self._engine(self.has_pooler).connect()
        except BaseException:
            raw.terminate()
            raise
        return Pooled(connection, raw)

    async def _connected(self, answer_s: float | None) -> Raw:
        if not self.has_pooler:
            try:
                raw = await connect(self.url, self.settings, command_s=answer_s)
            except PoolerBetween:
                self.note_pooler()
            else:
                if await self._honours(raw):
                    return raw
                raw.terminate()
                self.note_pooler()
        return await connect(self.url, {}, command_s=answer_s, name_statements=False)

    async def _honours(self, raw: Raw) -> bool:
        """Return whether the session has its settings. A connection pooler may silently leave them out."""
        settings = {**self.settings, **self.url.session}
        try:
            await raw.execute(_HAS_LOCK_TIMEOUT.format(settings["lock_timeout"]))
        except asyncpg.DivisionByZeroError:
            return False
        return True

    def note_pooler(self) -> None:
        if self.has_pooler:
            return
        self.has_pooler = True
        log.info("connection_pooler", effect="settings per transaction, no prepared statements")

    def _engine(self, has_pooler: bool) -> AsyncEngine:
        """Return the engine that wraps connections: to a server, or to a pooler that has many of them.

        A pooler may run each transaction on another connection, where no earlier statement is prepared.
        """
        if has_pooler not in self._engines:
            unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
            self._engines[has_pooler] = create_async_engine(
                "postgresql+asyncpg://",
                json_serializer=pass_through,
                json_deserializer=pass_through,
                hide_parameters=True,  # errors end up in logs, which must not keep personal data
                poolclass=NullPool,
                connect_args={"async_creator_fn": _take_over} | (unnamed if has_pooler else {}),
            )
        return self._engines[has_pooler]


async def _take_over(**_: object) -> Raw:
    """Return the connection that is already open, to SQLAlchemy."""
    return _handed_over.get()
