"""Keep the erasure log up to date, and apply it when a backup was restored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from ..errors import SettingsError
from ..ports import Clock
from ..queries.paging import first_id
from ..store import erasures
from ..store.engine.database import Connection, Database
from ..store.erasure_log import Erasure, ErasureLog, Mark, Memory
from ..store.erasures import Restored

log = structlog.get_logger("feedzone.erasures")

RECORD_EVERY_S = 2.0
MARK_EVERY = timedelta(hours=1)
"""How often the generation rises when nothing is deleted: how old a backup must be to be recognized."""

LATE = timedelta(minutes=10)
"""How far before the newest entry a read begins: a transaction may commit after one with a later id."""

MOST = 1000
FIRST_ID = "00000000-0000-0000-0000-000000000000"

Read = Callable[[Connection, str, str, int], list[Erasure]]
READS: tuple[Read, ...] = (erasures.deleted_since, erasures.left_since)


@dataclass
class ErasureService:
    """The erasure log of one process. On several machines, each process writes all erasures to its own."""

    database: Database
    home: Path
    clock: Clock
    days: int
    _name: str = field(default="", init=False)
    _generation: int = field(default=0, init=False)
    _known: set[str] = field(default_factory=set, init=False)
    _after: dict[Read, str] = field(default_factory=dict, init=False)
    """For each kind of erasure: the id behind which the next read begins."""
    _marked_at: datetime | None = field(default=None, init=False)
    _version: str | None = field(default=None, init=False)
    """The version of the data that the last complete reads have seen, or an older one."""

    async def record(self) -> int:
        """Copy new erasures of all processes to the log; return how many."""
        if not self._name:
            await self._begin()
        version = await self.database.data_version()
        count = 0
        if version != self._version:
            for read in READS:
                count += await self._copy(read)
        now = self.clock.now()
        if count or self._marked_at is None or now - self._marked_at >= MARK_EVERY:
            await self._mark(now)
        self._version = version
        return count

    async def _begin(self) -> None:
        identity = await self.database.write(erasures.identity)
        memory = await asyncio.to_thread(ErasureLog(self.home).read, identity.database)
        self._known = {erasure.id for erasure in memory.erasures}
        for read, of_activities in zip(READS, (True, False), strict=True):
            times = [e.at for e in memory.erasures if (e.activity is not None) == of_activities]
            self._after[read] = first_id(max(times) - LATE) if times else FIRST_ID
        self._name, self._generation = identity.database, memory.generation

    async def _copy(self, read: Read) -> int:
        """Copy the new erasures of one kind, page by page."""
        after, count, newest = self._after[read], 0, None
        while True:
            page = await self.database.read(lambda c, after=after: read(c, self._name, after, MOST))  # type: ignore[misc]
            fresh = [erasure for erasure in page if erasure.id not in self._known]
            if fresh:
                await asyncio.to_thread(ErasureLog(self.home).append, fresh)
            self._known.update(erasure.id for erasure in fresh)
            count += len(fresh)
            if page:
                after, newest = page[-1].id, page[-1].at
            if len(page) < MOST:
                break
        if newest is not None:
            self._after[read] = max(self._after[read], first_id(newest - LATE))
        return count

    async def _mark(self, now: datetime) -> None:
        generation = await self.database.write(erasures.advance)
        if generation <= self._generation:
            memory = await asyncio.to_thread(ErasureLog(self.home).read, self._name)
            await _apply(self.database, memory, self.days, now)
            generation = await self.database.write(erasures.advance)
        mark = Mark(self._name, generation, now)
        await asyncio.to_thread(ErasureLog(self.home).append, [mark])
        self._generation, self._marked_at = generation, now


async def apply_if_restored(
    database: Database, home: Path, days: int, now: datetime, *, force: bool = False
) -> Restored | None:
    """Delete again what a restored backup brought back, before anything is shown or served.

    A backup was restored if the database is of an older generation than the log says; or with `force`.
    The generation rises at the end, so the next start does what a crash has left undone.
    Return None if none was. Raises SettingsError when the log cannot be read.
    """
    identity = await database.write(erasures.identity)
    try:
        memory = await asyncio.to_thread(ErasureLog(home).read, identity.database)
    except OSError as problem:
        raise SettingsError(
            f"FEEDZONE_HOME: {ErasureLog(home).path} cannot be read ({problem.strerror}); "
            "without it deleted data of a restored backup could be shown"
        ) from None
    if force:
        await database.write(lambda c: erasures.mark_as_older(c, memory.generation))
    elif identity.generation >= memory.generation:
        return None
    return await _apply(database, memory, days, now)


async def _apply(database: Database, memory: Memory, days: int, now: datetime) -> Restored:
    done = await erasures.apply(database, memory.erasures, days, now)
    await database.write(lambda c: erasures.advance(c, memory.generation))
    log.warning("backup_restored", **done._asdict())
    return done
