"""Sees to it that what recurs is enqueued when it falls due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("feedzone.worker")

Schedule = Callable[[], Awaitable[int]]

SCHEDULE_EVERY_S = 30.0


class Scheduler:
    """`schedule` enqueues what is due and returns how many jobs that were."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    async def run_once(self) -> int:
        count = await self._schedule()
        if count:
            log.info("comparisons_scheduled", count=count)
        return count
