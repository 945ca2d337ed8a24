"""Enqueues recurring jobs when they fall due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

log = structlog.get_logger("feedzone.worker")

Schedule = Callable[[], Awaitable[int]]

SCHEDULE_EVERY_S = 30.0


class Scheduler:
    """Each of `schedules` enqueues its due jobs and returns how many."""

    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        self._schedules = schedules

    async def run_once(self) -> int:
        total = 0
        for name, schedule in self._schedules.items():
            count = await schedule()
            if count:
                log.info(f"{name}_scheduled", count=count)
            total += count
        return total
