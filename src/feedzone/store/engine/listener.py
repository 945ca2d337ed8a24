"""Listen for the NOTIFY of other processes, so that their jobs start here immediately.

A notification may be lost, so workers also poll.
"""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import structlog
from sqlalchemy.engine import URL

from ...ports import Wakeup

log = structlog.get_logger("feedzone.store")

CHANNEL = "feedzone_jobs"
RECONNECT_S = 5.0


class JobListener:
    """Keep one connection that listens, and reconnect when it breaks. Only PostgreSQL supports this."""

    def __init__(self, url: URL, wakeup: Wakeup) -> None:
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._wakeup = wakeup
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="job listener")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                log.warning("listener_lost", error=type(problem).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=10)
        closed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: closed.set())
            await connection.add_listener(CHANNEL, lambda *_: self._wakeup.notify())
            self._wakeup.notify()  # for jobs that were enqueued while nobody listened
            await closed.wait()
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=2)
