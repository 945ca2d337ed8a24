"""Calls are written down together, for the job they were made for, and the last ones when a worker stops."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fakes import FakeQueue, Parked, job, settle

from duty_leases import OnlyProcess
from feedzone.domain.job import Job, running_job
from feedzone.domain.outcome import Done
from feedzone.worker.call_log_writer import CallLogWriter
from feedzone.worker.executor import Executor
from feedzone.worker.loop import Loop
from feedzone.worker.service import WorkerService
from feedzone.worker.wakeup import LocalWakeup


class CallBuffer:
    """Calls that wait to be written (worker.recorder.Notes)."""

    def __init__(self) -> None:
        self.waiting, self.flushes = 0, []
        self._some = asyncio.Event()

    def add(self, count: int) -> None:
        self.waiting += count
        self._some.set()

    async def noted(self) -> None:
        await self._some.wait()

    async def flush(self) -> int:
        count, self.waiting = self.waiting, 0
        self._some.clear()
        if count:
            self.flushes.append(count)
        return count


async def test_calls_are_written_together_a_little_after_the_first_of_them(clock):
    notes = CallBuffer()
    recorder = CallLogWriter(notes, clock)
    duty = Loop("recorder", recorder.run_once, recorder.pause)
    duty.start()
    await settle()
    before = clock.now()
    assert notes.flushes == []
    notes.add(3)
    await settle()
    assert (notes.flushes, clock.now() - before) == ([3], timedelta(seconds=2))
    await settle()
    assert clock.now() - before == timedelta(seconds=2)
    await duty.stop()


async def test_a_stop_writes_the_calls_of_the_last_seconds():
    notes, queue = CallBuffer(), FakeQueue(Parked())
    worker = WorkerService(
        queue,
        {},
        Parked(),
        LocalWakeup(),
        OnlyProcess(),
        name="w",
        batch_size=1,
        poll_s=60,
        job_limit_s=60,
        call_buffer=notes,
    )
    await worker.start()
    await settle()
    notes.add(2)
    await settle()
    assert notes.flushes == []
    await worker.stop()
    assert notes.flushes == [2]


async def test_the_running_job_is_known_only_while_it_runs(clock):
    seen = []

    async def handler(_job: Job) -> Done:
        seen.append(running_job.get())
        return Done()

    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    await Executor(queue, {"refresh_activity": handler}, clock, limit_s=60).run(leased)
    assert seen == [leased]
    assert running_job.get() is None
