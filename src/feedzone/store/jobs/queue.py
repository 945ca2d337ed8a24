"""The queue as the worker sees it (ports.JobQueue)."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from ...domain.backoff import last_after_window_s, retry_delay_s
from ...domain.effect import PurgeAthlete
from ...domain.job import Job, Lane, calls_of
from ...domain.outcome import Outcome
from ...domain.quota.reserve import Allowance
from ...errors import QuotaSpent
from ...ports import Clock
from .. import effects, removals
from ..engine.database import Database
from ..engine.shared_commits import SharedCommits
from ..quota import breaker
from ..quota.budget import BudgetTable, LaneLimit
from . import deferral, leases, lifecycle
from .endings import Ending, finish_all, is_of_one_activity

SOON = timedelta(seconds=5)
"""Reserve calls for higher-priority jobs due within this time. They return seconds after a window opens, and
low-priority jobs must not have used the calls up."""

MANY_WORKERS = 16
"""While this many times the calls of its own batch are left, a worker ignores the calls that jobs of other
workers may still make."""


AT_ONCE = 32
"""Runs that share the transaction of their endings, at most."""


class JobTable:
    """The table `jobs`, one transaction a call; runs that end together share one."""

    def __init__(
        self, database: Database, clock: Clock, budget: BudgetTable, *, max_attempts: int, rng: random.Random
    ) -> None:
        self._database = database
        self._clock = clock
        self._budget = budget
        self._max_attempts = max_attempts
        self._rng = rng
        self._endings = SharedCommits(self._finish, most=AT_ONCE, name="endings")

    async def lease(self, limit: int, owner: str, seconds: float) -> list[Job]:
        now = self._clock.now()
        demand = await self._budget.demand()

        def body(connection: Connection) -> tuple[list[Job], dict[Lane, LaneLimit], int]:
            limited = self._budget.lane_limits(connection, demand, Lane, limit * MANY_WORKERS)
            limits = dict(limited.by_lane)
            left = limits.pop(Lane.LIVE, None)
            running = leases.calls_to_come(connection) if limits else {}
            first = leases.calls_that_go_first(connection, now + SOON) if limits else {}
            most = {
                lane: _calls(lane, allowance.calls, left, first, running)
                for lane, allowance in limits.items()
            }
            idle = [lane for lane in limits if lane not in running]
            leased = leases.lease(
                connection, limit=limit, owner=owner, now=now, seconds=seconds, most=most, idle=idle
            )
            return leased, limits, limited.day_quota

        leased, limits, day_quota = await self._database.write(body, durable=False)
        self._budget.note_day_quota(day_quota)
        if len(leased) < limit:
            for lane, allowance in limits.items():
                if allowance.calls <= sum(
                    calls_of(job.kind, job.hint) for job in leased if job.lane is lane
                ) and (await self._database.read(partial(deferral.any_due, lane=lane, now=now))):
                    await self._postpone(lane, allowance.allowance(), now)
        return leased

    async def _postpone(self, lane: Lane, allowance: Allowance, now: datetime) -> None:
        """Defer the due jobs of a lane until it may call again."""
        # All at the same instant: with one instant per job, all workers would look at the queue each time. It
        # comes after the jobs that the limit stopped half way, and after higher lanes.
        until = allowance.until + timedelta(seconds=last_after_window_s(lane))
        reason = str(QuotaSpent(allowance.window, allowance.until))
        step = partial(deferral.postpone_lane, lane=lane, now=now, until=until, reason=reason)
        while await self._database.write(step, durable=False) == deferral.AT_ONCE:
            pass

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        delay = timedelta(seconds=retry_delay_s(job.attempts + 1, self._rng.random()))
        ending = Ending(job, outcome, delay)
        if is_of_one_activity(outcome):
            return await self._endings.submit(ending)
        (finished,) = await self._finish([ending])
        if any(isinstance(effect, PurgeAthlete) for effect in outcome.effects):
            await removals.complete(self._database, self._clock.now())
            await self._database.erase_deleted()
        return finished

    async def _finish(self, endings: Sequence[Ending]) -> list[bool]:
        """Finish runs in one transaction, or those of one activity after the other."""
        if len({ending.job.object_id for ending in endings}) < len(endings):
            return [each for ending in endings for each in await self._finish([ending])]
        now = self._clock.now()

        def body(connection: Connection) -> list[bool]:
            return finish_all(
                connection,
                [
                    ending._replace(outcome=breaker.reconsider(connection, ending.outcome, now))
                    for ending in endings
                ],
                now=now,
                max_attempts=self._max_attempts,
                apply=lambda connection, written: effects.apply(connection, written, now),
            )

        return await self._database.write(body)

    async def renew(self, owners: Sequence[str], seconds: float) -> int:
        until = self._clock.now() + timedelta(seconds=seconds)
        return await self._database.write(lambda c: leases.renew(c, owners, until))

    async def release(self, owner: str) -> int:
        now = self._clock.now()
        return await self._database.write(lambda c: leases.release(c, owner, now))

    async def rescue(self) -> int:
        now = self._clock.now()
        # On a SQLite file of this machine, an owner whose process has ended never comes back.
        is_gone = None if self._database.shares_work else process_is_gone
        if not await self._database.read(lambda c: leases.any_abandoned(c, now, is_gone)):
            return 0
        return await self._database.write(lambda c: leases.rescue(c, now, is_gone))

    async def next_due(self) -> datetime | None:
        return await self._database.read(lifecycle.next_due)


def _calls(
    lane: Lane, allowance: int, left: LaneLimit | None, first: Mapping[Lane, int], running: Mapping[Lane, int]
) -> int:
    """Return the calls that a lane may make now, minus those that other jobs are about to make."""
    before = sum(calls for other, calls in first.items() if other < lane)
    calls = allowance - before
    if lane is Lane.INTERACTIVE and left is not None:
        # A person waits. The uploads that go first take their calls from the reserve for uploads.
        calls = min(allowance, left.calls - before)
    return calls - sum(calls for other, calls in running.items() if other <= lane)


def worker_name() -> str:
    """Return the name of this process in leases: host:pid:random."""
    return f"{socket.gethostname()}:{os.getpid()}:{random.randrange(16**8):08x}"  # noqa: S311  (a name)


def process_is_gone(owner: str) -> bool:
    """Return whether the lease owner was a process of this machine that has ended."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
