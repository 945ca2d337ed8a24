"""Keeps this worker's leases alive, and queues again what dead workers left."""

from __future__ import annotations

import structlog

from ..ports import JobQueue
from .producer import LEASE_S

log = structlog.get_logger("feedzone.worker")

EVERY_S = LEASE_S / 3


class Rescuer:
    def __init__(self, queue: JobQueue, worker: str) -> None:
        self._queue = queue
        self._worker = worker

    async def run_once(self) -> int:
        """Renew, then rescue; returns how many jobs were rescued."""
        await self._queue.renew(self._worker, LEASE_S)
        rescued = await self._queue.rescue()
        if rescued:
            log.warning("jobs_rescued", count=rescued)
        return rescued
