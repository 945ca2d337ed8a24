"""Free the space of deleted rows on PostgreSQL, which keeps their content until a vacuum."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from ...errors import StorageUnavailable
from .opener import Opener
from .pool import discard
from .server_url import ServerUrl

log = structlog.get_logger("feedzone.store")

LIMIT_S = 120.0
"""How long one round may take. What it leaves, the next round and PostgreSQL's autovacuum do."""

STOP_S = 5.0
"""How long a stop waits for a round."""

SETTINGS = {"statement_timeout": str(round(LIMIT_S * 1000)), "lock_timeout": "10000"}


class Vacuum:
    """Vacuums the tables with athletes' data, in the background, one round at a time.

    A purge must not wait for it: a vacuum reads whole tables. It blocks neither readers nor writers.
    """

    def __init__(self, url: ServerUrl) -> None:
        self._url = url
        self._task: asyncio.Task[None] | None = None
        self._is_wanted = False

    def start(self) -> None:
        """Begin a round, or one more after the round that runs."""
        self._is_wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="vacuum")

    async def finish(self) -> None:
        """Wait for the running round, but not for long: the next start of a round repeats it."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_S)
            self._task.cancel()

    async def _run(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            try:
                async with asyncio.timeout(LIMIT_S):
                    await self._round()
            except (asyncpg.PostgresError, StorageUnavailable, OSError, TimeoutError) as problem:
                log.warning("vacuum_failed", error=type(problem).__name__)

    async def _round(self) -> None:
        from ..schema.personal import TOUCHED

        # A vacuum runs outside of transactions, on a connection of its own with a limit of its own.
        pooled = await Opener(self._url, SETTINGS).open(LIMIT_S)
        try:
            for table in TOUCHED:
                await pooled.raw.execute(f"VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON) {table.name}")
        finally:
            await discard(pooled)
