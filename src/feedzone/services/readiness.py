"""Whether events can be stored: by writing, because a database that answers may still refuse to write."""

from __future__ import annotations

import asyncio
import time

from ..errors import StorageUnavailable
from ..store import probe
from ..store.engine.database import Database

ANSWERS_WITHIN_S = 1.0
"""A delivery has little more time."""

VALID_S = 1.0
"""How long a result counts, so that many probes cost one write."""


class ReadinessService:
    """Writes to the database at most once per VALID_S."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checking = asyncio.Lock()
        self._checked_at = -VALID_S
        self._problem: StorageUnavailable | None = None

    async def require_storage(self) -> None:
        """Raise StorageUnavailable unless an event can be stored now."""
        async with self._checking:
            if time.monotonic() - self._checked_at >= VALID_S:
                self._problem = await self._check()
                self._checked_at = time.monotonic()
        if self._problem is not None:
            raise self._problem

    async def _check(self) -> StorageUnavailable | None:
        try:
            await self._database.write(probe.write, within_s=ANSWERS_WITHIN_S)
        except StorageUnavailable as problem:
            return problem
        return None
