"""The worker as a whole: starts its duties, and stops without losing a leased job."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from ..domain.job_kinds import JobKind
from ..errors import StorageUnavailable
from ..ports import Clock, DutyLease, Handler, JobQueue, Wakeup
from .call_log_writer import CallBuffer, CallLogWriter
from .duties import duty_loop
from .executor import Executor
from .leadership import Leadership
from .loop import Loop, Pause, Step
from .producer import Producer
from .pruner import PRUNE_EVERY_S, Prune, Pruner
from .rescuer import EVERY_S, Rescuer
from .scheduler import SCHEDULE_EVERY_S, Schedule, Scheduler

log = structlog.get_logger("feedzone.worker")

GRACE_S = 8.0
"""How long a stop waits for running jobs. The others are released and run elsewhere."""


class WorkerService:
    """Leases, runs, renews and rescues until stopped. Safe to stop twice, or unstarted."""

    def __init__(
        self,
        queue: JobQueue,
        handlers: Mapping[JobKind, Handler],
        clock: Clock,
        wakeup: Wakeup,
        lease: DutyLease,
        *,
        name: str,
        batch_size: int,
        poll_s: float,
        job_limit_s: float,
        schedules: Mapping[str, Schedule] | None = None,
        prune: Prune | None = None,
        call_buffer: CallBuffer | None = None,
    ) -> None:
        self.name = name
        self._queue = queue
        self._executor = Executor(queue, handlers, clock, limit_s=job_limit_s)
        self.producer = Producer(
            queue, self._executor, wakeup, clock, worker=name, batch_size=batch_size, poll_s=poll_s
        )
        self.rescuer = Rescuer(queue, self.producer.leases)
        self.leadership = Leadership(lease, clock)
        self._producing = self._loop("producer", self.producer.run_once, self.producer.pause)
        self._duties = [self._loop("rescuer", self.rescuer.run_once, lambda: clock.sleep(EVERY_S))]
        self._leading = [self._loop("leadership", self.leadership.run_once, self.leadership.pause)]
        if schedules:
            step = Scheduler(schedules).run_once
            self._leading.append(self._loop("scheduler", step, lambda: clock.sleep(SCHEDULE_EVERY_S)))
        if prune is not None:
            step = Pruner(prune).run_once
            self._leading.append(self._loop("pruner", step, lambda: clock.sleep(PRUNE_EVERY_S)))
        self._recorder = CallLogWriter(call_buffer, clock) if call_buffer is not None else None
        if self._recorder is not None:
            self._duties.append(self._loop("recorder", self._recorder.run_once, self._recorder.pause))
        self._started = False

    def _loop(self, name: str, step: Step, pause: Pause) -> Loop:
        return duty_loop(name, step, pause, self.leadership)

    async def start(self) -> None:
        self._started = True
        for duty in (*self._leading, *self._duties):
            duty.start()
        self._producing.start()
        log.info("worker_started", worker=self.name)

    async def stop(self) -> None:
        if not self._started:
            return
        self._started = False
        # First, so that another process takes over before the jobs that run here have ended.
        for duty in self._leading:
            await duty.stop()
        await self.leadership.resign()
        await self._producing.stop()
        await self.producer.drain(GRACE_S)
        for duty in self._duties:
            await duty.stop()
        await self._write_down()
        try:
            released = await self._queue.release(self.name)
        except StorageUnavailable as problem:
            log.warning("leases_left_behind", error=str(problem))  # they run out by themselves
            released = 0
        log.info("worker_stopped", worker=self.name, released=released)

    async def _write_down(self) -> None:
        """Write the calls of the last seconds."""
        try:
            if self._recorder is not None:
                await self._recorder.run_once()
        except StorageUnavailable as problem:
            log.warning("calls_not_recorded", error=str(problem))
