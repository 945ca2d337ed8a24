"""What the worker's duties do beside running jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fakes import FakeQueue, Parked, job, settle

from duty_leases import OnlyProcess
from feedzone.domain.outcome import Done, Outcome, Retry, Snooze
from feedzone.errors import StorageUnavailable
from feedzone.worker.executor import Executor
from feedzone.worker.scheduler import Scheduler
from feedzone.worker.service import WorkerService
from feedzone.worker.wakeup import LocalWakeup


async def test_a_job_runs_again_seconds_after_our_own_database_failed(clock):
    async def fails(_job: object) -> Outcome:
        raise StorageUnavailable("locked")

    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    outcome = await Executor(queue, {"refresh_activity": fails}, clock, limit_s=5).run(leased)
    assert isinstance(outcome, Snooze)
    assert timedelta(0) < outcome.until - clock.now() <= timedelta(seconds=5)


async def test_a_hanging_run_ends_at_its_limit(clock):
    async def hangs(_job: object) -> Outcome:
        return await asyncio.get_running_loop().create_future()

    queue = FakeQueue(clock, job())
    (leased,) = await queue.lease(1, "w/1", 30)
    async with asyncio.timeout(30):
        outcome = await Executor(queue, {"refresh_activity": hangs}, clock, limit_s=0.01).run(leased)
    assert isinstance(outcome, Retry)


async def test_the_scheduler_reports_the_jobs_of_all_schedules():
    async def two() -> int:
        return 2

    async def three() -> int:
        return 3

    assert await Scheduler({"a": two, "b": three, "c": two}).run_once() == 7


class Buffer:
    """Calls that nobody has written yet."""

    def __init__(self) -> None:
        self.written = 0

    async def noted(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def flush(self) -> int:
        self.written += 1
        return 1


async def test_a_stop_writes_the_calls_of_the_last_seconds_and_each_duty_waits_between_its_steps():
    buffer, pruned = Buffer(), []

    async def prune() -> int:
        pruned.append(True)
        return 0

    async def handler(_job: object) -> Outcome:
        return Done()

    worker = WorkerService(
        FakeQueue(Parked()),
        {"refresh_activity": handler},
        Parked(),
        LocalWakeup(),
        OnlyProcess(),
        name="w",
        batch_size=1,
        poll_s=60,
        job_limit_s=60,
        prune=prune,
        call_buffer=buffer,
    )
    await worker.start()
    await settle()
    before = buffer.written
    assert (len(pruned), before) == (1, 1)
    await worker.stop()
    assert buffer.written == before + 1


async def test_every_duty_pauses_for_its_own_interval():
    """With a pause of zero it would use a whole processor."""
    slept: list[float] = []

    class Recording(Parked):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            await super().sleep(seconds)

    async def nothing() -> int:
        return 0

    worker = WorkerService(
        FakeQueue(Parked()),
        {},
        Recording(),
        LocalWakeup(),
        OnlyProcess(),
        name="w",
        batch_size=1,
        poll_s=60,
        job_limit_s=60,
        prune=nothing,
        schedules={"a": nothing},
    )
    await worker.start()
    await settle()
    await worker.stop()
    assert sorted(slept) == [OnlyProcess.terms.renew_s, 5.0, 30.0, 3600.0]


async def test_a_stop_lets_another_process_lead_before_the_running_jobs_end():
    lease, ended = OnlyProcess(), asyncio.Event()

    async def handler(_job: object) -> Outcome:
        await ended.wait()
        return Done()

    worker = WorkerService(
        FakeQueue(Parked(), job()),
        {"refresh_activity": handler},
        Parked(),
        LocalWakeup(),
        lease,
        name="w",
        batch_size=1,
        poll_s=60,
        job_limit_s=60,
    )
    await worker.start()
    await settle()
    assert worker.leadership.is_leader
    stopping = asyncio.create_task(worker.stop())
    await settle()
    assert (lease.released, stopping.done(), worker.leadership.is_leader) == (1, False, False)
    ended.set()
    await stopping
