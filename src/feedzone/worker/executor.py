"""Runs one job: handler, outcome, guarded finish."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from datetime import timedelta

import structlog

from ..domain.job import Job, running_job
from ..domain.job_kinds import JobKind
from ..domain.outcome import Outcome, Retry, Snooze
from ..errors import StorageUnavailable, reason_of
from ..ports import Clock, Handler, JobQueue
from ..vault import UnknownKey

DATABASE_PAUSE_S = 2.0

KEY_PAUSE = timedelta(minutes=5)
"""The time until a job that lacks the key of its tokens tries again. Only a restart brings keys back."""

log = structlog.get_logger("feedzone.worker")


class Executor:
    """Runs jobs by their kind; `limit_s` bounds a run, so that no job keeps its lease for ever."""

    def __init__(
        self, queue: JobQueue, handlers: Mapping[JobKind, Handler], clock: Clock, *, limit_s: float
    ) -> None:
        self._queue = queue
        self._handlers = handlers
        self._clock = clock
        self._limit_s = limit_s

    async def run(self, job: Job) -> Outcome:
        """Run the job and record its outcome."""
        mark = running_job.set(job)
        try:
            outcome = await self._handle(job)
        finally:
            running_job.reset(mark)
        finished = await self._finish(job, outcome)
        log.info(
            "job_finished" if finished else "job_lease_lost",
            kind=job.kind,
            key=job.key,
            outcome=type(outcome).__name__.lower(),
            attempt=job.attempts + 1,
            reason=_reason(outcome),
        )
        return outcome

    async def _handle(self, job: Job) -> Outcome:
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._handlers[job.kind](job)
        except TimeoutError:
            return Retry(f"the run took longer than {self._limit_s:g} s")
        except StorageUnavailable as problem:
            # Our own database fails: that is not the job's fault, and costs no attempt.
            retry_at = self._clock.now() + timedelta(seconds=DATABASE_PAUSE_S)
            return Snooze(retry_at, f"database unavailable: {problem}")
        except UnknownKey as problem:
            # Jobs go on by themselves when feedzone runs with the key again; a condition names it meanwhile.
            log.error("key_missing", kind=job.kind, key=job.key, key_id=problem.key_id)
            return Snooze(self._clock.now() + KEY_PAUSE, "the key of the athlete's tokens is missing")
        except Exception as bug:
            log.exception("job_crashed", kind=job.kind, key=job.key)
            return Retry(f"a bug in feedzone: {reason_of(bug)}")

    async def _finish(self, job: Job, outcome: Outcome) -> bool:
        """Write the outcome; retry until the database accepts it, while the rescuer renews the lease."""
        for attempt in itertools.count(1):
            try:
                return await self._queue.finish(job, outcome)
            except StorageUnavailable as problem:
                log.warning("job_finish_delayed", key=job.key, error=str(problem))
                await self._clock.sleep(min(5.0, 0.2 * attempt))
            except Exception as bug:
                # Without a cost, an outcome that cannot be written would repeat for ever.
                log.exception("job_finish_crashed", kind=job.kind, key=job.key)
                if isinstance(outcome, Retry) and not (outcome.effects or outcome.if_last):
                    raise
                outcome = Retry(f"a bug in feedzone, while writing: {reason_of(bug)}")
        raise AssertionError("unreachable")


def _reason(outcome: Outcome) -> str | None:
    for name in ("note", "reason", "error"):
        value = getattr(outcome, name, None)
        if value:
            return str(value)
    return None
