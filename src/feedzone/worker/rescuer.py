"""Renews this worker's leases, and returns the jobs of dead workers to the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from ..ports import JobQueue
from .producer import LEASE_S

log = structlog.get_logger("feedzone.worker")

EVERY_S = LEASE_S / 5


class Rescuer:
    """`leases` names the leases of the jobs that run here; only those are renewed."""

    def __init__(self, queue: JobQueue, leases: Callable[[], Sequence[str]]) -> None:
        self._queue = queue
        self._leases = leases

    async def run_once(self) -> int:
        """Renew, then rescue; returns how many jobs were rescued."""
        if leases := self._leases():
            await self._queue.renew(leases, LEASE_S)
        rescued = await self._queue.rescue()
        if rescued:
            log.warning("jobs_rescued", count=rescued)
        return rescued
