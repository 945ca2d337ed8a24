"""Listen for the NOTIFY of other processes, so that their events and jobs wait for no poll.

A notification may be lost, so workers also poll. Behind a connection pooler they only poll: LISTEN needs a
connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import structlog

from ...errors import StorageUnavailable
from ...ports import Wakeup
from .connecting import PoolerBetween, connect, unusable
from .server_url import ServerUrl

log = structlog.get_logger("feedzone.store")

JOBS, EVENTS = "feedzone_jobs", "feedzone_events"
"""The channels: a job was enqueued (jobs/fairness.py), or an event was stored (undispatched.py)."""

RECONNECT_S = 5.0

CHECK_S = 10.0
"""How often the listener checks that its connection still carries answers: silence looks like no jobs,
and a server that has become a standby hears of none."""

ANSWER_S = 5.0

PROOF = {"lock_timeout": "1000"}
"""A setting that a server accepts and a connection pooler refuses."""

LOST = (OSError, TimeoutError, StorageUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError)
"""The errors of a connection that is gone."""


class JobListener:
    """Keep one connection that listens, and reconnect when it breaks. Only PostgreSQL supports this."""

    def __init__(self, url: ServerUrl, jobs: Wakeup, events: Wakeup) -> None:
        self._url = url
        self._wakeups = {JOBS: jobs, EVENTS: events}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if not self._url.has_pooler:
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
            except PoolerBetween:
                log.warning("listener_off", reason="behind a connection pooler, jobs are found by polling")
                return
            except LOST as problem:
                log.warning("listener_lost", error=type(problem).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        connection = await connect(self._url, PROOF, command_s=ANSWER_S)
        closed = asyncio.Event()
        try:
            if await connection.fetchval("SHOW lock_timeout") != "1s":
                raise PoolerBetween
            connection.add_termination_listener(lambda _connection: closed.set())
            for channel, wakeup in self._wakeups.items():
                await connection.add_listener(channel, lambda *_, wakeup=wakeup: wakeup.notify())
                wakeup.notify()  # for what came while nobody listened
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(closed.wait(), CHECK_S)
                if not closed.is_set():
                    await asyncio.wait_for(connection.execute("SELECT 1"), ANSWER_S)
                    if refusal := unusable(connection):
                        raise StorageUnavailable(refusal)
        finally:
            connection.terminate()
