"""Keeps this worker's leases alive, and queues again what dead workers left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from ..ports import JobQueue
from .producer import LEASE_S

log = structlog.get_logger("feedzone.worker")

EVERY_S = LEASE_S / 3


class Rescuer:
    """`held` names the leases of the jobs that are running here: only those deserve to be prolonged."""

    def __init__(self, queue: JobQueue, held: Callable[[], Sequence[str]]) -> None:
        self._queue = queue
        self._held = held

    async def run_once(self) -> int:
        """Renew, then rescue; returns how many jobs were rescued."""
        if held := self._held():
            await self._queue.renew(held, LEASE_S)
        rescued = await self._queue.rescue()
        if rescued:
            log.warning("jobs_rescued", count=rescued)
        return rescued
