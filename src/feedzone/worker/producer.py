"""Leases due jobs and hands them to the executor, as many at a time as QUEUE_BATCH_SIZE."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta

import structlog

from ..domain.job import Job
from ..ports import Clock, JobQueue, Wakeup
from .executor import Executor

log = structlog.get_logger("feedzone.worker")

LEASE_S = 25.0
"""How long a dead worker's jobs wait; five seconds later all of them run again. A live worker renews earlier
(rescuer.py), also if the database takes its longest time for an answer: 5 + 12 + 1 s (interface.ANSWER_S)."""

AGAIN = timedelta(seconds=1)


class Producer:
    """Keeps up to `batch_size` jobs running; waits for a wakeup, for the next due job, or for `poll_s`."""

    def __init__(
        self,
        queue: JobQueue,
        executor: Executor,
        wakeup: Wakeup,
        clock: Clock,
        *,
        worker: str,
        batch_size: int,
        poll_s: float,
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._wakeup = wakeup
        self._clock = clock
        self._worker = worker
        self._batch_size = batch_size
        self._poll_s = poll_s
        self._lease_numbers = itertools.count(1)
        self._next_due: datetime | None = None
        self._more_due = False
        self.running: dict[asyncio.Task[object], str] = {}

    async def run_once(self) -> int:
        """Lease jobs up to the batch size and start them; returns how many."""
        free_slots = self._batch_size - len(self.running)
        if free_slots <= 0:
            return 0
        # A read blocks nobody. A lease on SQLite blocks the transactions that store events. Where more jobs
        # were due than could run, more are probably due now.
        if not self._more_due:
            self._next_due = await self._queue.next_due()
            if self._next_due is None or self._next_due > self._clock.now():
                return 0
        owner = f"{self._worker}/{next(self._lease_numbers)}"
        jobs = await self._queue.lease(free_slots, owner, LEASE_S)
        for job in jobs:
            self._spawn(job)
        searched, self._more_due = self._more_due, len(jobs) == free_slots
        if not jobs and searched:
            return await self.run_once()
        if not jobs:
            # The due jobs are not for us: another worker leases them now, or the calls left are for others.
            self._next_due = self._clock.now() + AGAIN
        return len(jobs)

    def _spawn(self, job: Job) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self._executor.run(job), name=f"job {job.key}")
        self.running[task] = job.lease_owner
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self.running.pop(task, None)
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("job_task_crashed", task=task.get_name(), exc_info=bug)
        self._wakeup.notify()

    def leases(self) -> list[str]:
        """Return the leases of the running jobs."""
        return sorted(set(self.running.values()))

    async def pause(self) -> None:
        """Wait until a job may be due."""
        if len(self.running) >= self._batch_size:
            await self._wakeup.wait(self._poll_s)
            return
        due, wait = self._next_due, self._poll_s
        if due is not None:
            wait = min(wait, max(0.0, (due - self._clock.now()).total_seconds()))
        await self._wakeup.wait(wait)

    async def drain(self, grace_s: float) -> None:
        """Let running jobs finish for `grace_s`, then cancel the rest."""
        if not self.running:
            return
        _, unfinished = await asyncio.wait(list(self.running), timeout=grace_s)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
