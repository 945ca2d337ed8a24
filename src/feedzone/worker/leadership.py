"""Decides which of all processes runs the duties that one process does for all (duties.py)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from ..clock import is_recent
from ..errors import StorageUnavailable
from ..ports import Clock, DutyLease

log = structlog.get_logger("feedzone.worker")


class Leadership:
    """Takes the lease when it is free, renews it, and hands it over at a stop.

    A process that was paused finds by its own clock that its lease is over, before it begins a duty. What it
    had begun goes on, beside the next leader: so each duty may run in two processes at once and do no harm.
    """

    def __init__(self, lease: DutyLease, clock: Clock) -> None:
        self._lease = lease
        self._clock = clock
        self._renewed_at: datetime | None = None
        self._won = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        within = timedelta(seconds=self._lease.terms.lease_s)
        return self._renewed_at is not None and is_recent(self._renewed_at, self._clock.now(), within)

    async def run_once(self) -> bool:
        """Take or renew the lease; return whether this process leads."""
        had_lease, asked_at = self._renewed_at is not None, self._clock.now()
        leads = (self.is_leader or await self._lease.is_free()) and await self._lease.acquire()
        self._renewed_at = asked_at if leads else None
        if leads:
            self._won.set()
        if leads != had_lease:
            log.info("leadership_won" if leads else "leadership_lost")
        return leads

    async def pause(self) -> None:
        terms = self._lease.terms
        await self._clock.sleep(terms.renew_s if self.is_leader else terms.look_s)

    async def until_leader(self) -> None:
        """Wait until this process leads."""
        while not self.is_leader:
            self._won.clear()
            await self._won.wait()

    async def resign(self) -> None:
        """Let another process take over at once."""
        was_leader, self._renewed_at = self.is_leader, None
        if not was_leader:
            return
        try:
            await self._lease.release()
        except StorageUnavailable as problem:
            log.warning("leadership_left_behind", error=str(problem))  # it runs out by itself
