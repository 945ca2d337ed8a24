"""The loop that all duties of the worker share: a step, repeated until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ..errors import StorageUnavailable

log = structlog.get_logger("feedzone.worker")

Step = Callable[[], Awaitable[object]]
Pause = Callable[[], Awaitable[object]]

PAUSE_AFTER_FAILURE_S = 1.0


class Loop:
    """Repeats `step`, then `pause`. Safe to stop twice, or without having been started."""

    def __init__(self, name: str, step: Step, pause: Pause) -> None:
        self.name = name
        self._step = step
        self._pause = pause
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
                await self._pause()
            except StorageUnavailable as problem:
                log.warning("database_unavailable", duty=self.name, error=str(problem))
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
            except Exception:
                # A bug in one step must not end the duty; the log has it, and the next step follows.
                log.exception("duty_failed", duty=self.name)
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
