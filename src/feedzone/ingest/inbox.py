"""Durable before 200 (guarantee 1): events and their jobs in one transaction, which deliveries share."""

from __future__ import annotations

import asyncio
from datetime import datetime

from ..domain.event import Signature, StravaEvent
from ..errors import StorageUnavailable, reason_of
from ..ports import Clock, Wakeup
from ..store import athletes
from ..store.engine.database import Database
from .dispatcher import NOT_CONNECTED, AcceptResult, Delivery, accept

COMMIT_WITHIN_S = 1.5
"""Strava waits 2 s. A later delivery is refused, so that Strava delivers it again."""

GROUP = 128
"""Deliveries that share one commit, at most."""

BACKLOG = 4096
"""Deliveries that may wait for a commit; more than that are refused at once."""


class Inbox:
    """Accepts events. While one group commits, the next one gathers (group commit)."""

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup
        self._waiting: list[tuple[Delivery, asyncio.Future[AcceptResult]]] = []
        self._committer: asyncio.Task[None] | None = None

    async def is_connected(self, athlete_id: int) -> bool:
        """Return whether events of this athlete are stored. Raises StorageUnavailable."""
        row = await self._database.read(lambda c: athletes.get(c, athlete_id))
        return row is not None and row.status not in NOT_CONNECTED

    async def accept(
        self, event: StravaEvent, signature: Signature, *, crowded: bool = False
    ) -> AcceptResult:
        """Store the event and the job it causes; returns when both are durable.

        Raises StorageUnavailable when that is not so within COMMIT_WITHIN_S. It may still become
        durable later; the repeated delivery is then a duplicate.
        """
        if len(self._waiting) >= BACKLOG:
            raise StorageUnavailable("too many deliveries are waiting for the database")
        done: asyncio.Future[AcceptResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((Delivery(event, signature, crowded), done))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups(), name="inbox committer")
        try:
            async with asyncio.timeout(COMMIT_WITHIN_S):
                return await asyncio.shield(done)
        except TimeoutError:
            raise StorageUnavailable(f"not committed within {COMMIT_WITHIN_S} s") from None

    async def _commit_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                await self._commit([delivery for delivery, _ in group], [done for _, done in group])
        finally:
            self._committer = None

    async def _commit(self, deliveries: list[Delivery], waiting: list[asyncio.Future[AcceptResult]]) -> None:
        """Commit a group. If a delivery is at fault, halve the group until that one fails alone."""
        now: datetime = self._clock.now()
        try:
            receipts = await self._database.write(lambda c: accept(c, deliveries, now))
        except Exception as problem:
            if not isinstance(problem, StorageUnavailable) and len(deliveries) > 1:
                half = len(deliveries) // 2
                await self._commit(deliveries[:half], waiting[:half])
                await self._commit(deliveries[half:], waiting[half:])
                return
            failure = (
                problem if isinstance(problem, StorageUnavailable) else StorageUnavailable(reason_of(problem))
            )
            for done in waiting:
                if not done.done():
                    done.set_exception(failure)
                    done.exception()  # a caller that timed out does not read it
            return
        for done, receipt in zip(waiting, receipts, strict=True):
            if not done.done():
                done.set_result(receipt)
        if any(receipt.verdict == "accepted" for receipt in receipts):
            self._wakeup.notify()

    async def close(self) -> None:
        """Wait for the groups that are being committed."""
        if self._committer is not None:
            await asyncio.wait([self._committer])
