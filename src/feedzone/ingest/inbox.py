"""Durable before 200 (guarantee 1): events in one transaction, which concurrent deliveries share."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from ..domain.event import Signature, StravaEvent
from ..errors import StorageUnavailable, reason_of
from ..ports import Clock, Wakeup
from ..store import athletes
from ..store.engine.database import Database
from .deliveries import NOT_CONNECTED, AcceptResult, Delivery, accept, replay
from .spool import Losses, Spool

log = structlog.get_logger("feedzone.inbox")

COMMIT_WITHIN_S = 1.5
"""Strava waits 2 s. A later delivery is refused, so that Strava delivers it again."""

GIVE_UP_S = 3.0
"""A commit that takes longer is cut off: its deliveries were refused, and the next ones need a connection."""

REPLAY_EVERY_S, REPLAY_AT_ONCE, REPLAY_WITHIN_S = 1.0, 64, 10.0
"""How often, how many at a time, and within which limit refused deliveries are tried again."""

GROUP = 128
"""Deliveries that share one commit, at most."""

BACKLOG = 4096
"""Deliveries that may wait for a commit; more than that are refused at once."""


class Inbox:
    """Accepts events. While one group commits, the next one gathers (group commit)."""

    def __init__(
        self, database: Database, clock: Clock, arrivals: Wakeup, spool: Spool | None = None
    ) -> None:
        """`arrivals` wakes the dispatcher of this process."""
        self.spool = Spool() if spool is None else spool
        self._replayer: asyncio.Task[None] | None = None
        self._database = database
        self._clock = clock
        self._arrivals = arrivals
        self._waiting: list[tuple[Delivery, asyncio.Future[AcceptResult]]] = []
        self._committer: asyncio.Task[None] | None = None

    async def is_connected(self, athlete_id: int) -> bool:
        """Return whether events of this athlete are stored. Raises StorageUnavailable."""
        row = await self._database.read(lambda c: athletes.get(c, athlete_id))
        return row is not None and row.status not in NOT_CONNECTED

    async def accept(
        self, event: StravaEvent, signature: Signature, *, crowded: bool = False
    ) -> AcceptResult:
        """Store the event; returns when it is durable.

        Raises StorageUnavailable when that is not so within COMMIT_WITHIN_S. It may still become
        durable later; the repeated delivery is then a duplicate. The refused delivery is kept, and
        stored when the database takes it.
        """
        delivery = Delivery(event, signature, crowded)
        try:
            return await self._accept(delivery)
        except StorageUnavailable:
            self.spool.keep(delivery, self._clock.now().timestamp())
            self._start_replay()
            raise

    async def _accept(self, delivery: Delivery) -> AcceptResult:
        if len(self._waiting) >= BACKLOG:
            raise StorageUnavailable("too many deliveries are waiting for the database")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[AcceptResult] = loop.create_future()
        self._waiting.append((delivery, done))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups(), name="inbox committer")
        overdue = loop.call_later(COMMIT_WITHIN_S, _refuse, done)
        try:
            return await done
        finally:
            overdue.cancel()

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
            receipts = await self._database.write(lambda c: accept(c, deliveries, now), within_s=GIVE_UP_S)
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
            self._arrivals.notify()

    async def start(self) -> None:
        """Take over the refused deliveries of processes that ended, and store them."""
        await asyncio.to_thread(self.spool.open)
        if self.spool.has_work:
            self._start_replay()

    def _start_replay(self) -> None:
        if self._replayer is None:
            self._replayer = asyncio.create_task(self._replay(), name="refused deliveries")

    async def _replay(self) -> None:
        """Store the refused deliveries once the database takes them; then have losses compared."""
        try:
            while self.spool.has_work:
                await self._write_spool()
                await self._clock.sleep(REPLAY_EVERY_S)
                try:
                    while self.spool:
                        await self._replay_some(self.spool.oldest(REPLAY_AT_ONCE))
                    await self._note_losses()
                    await self._write_spool()
                except StorageUnavailable as problem:
                    log.warning("replay_delayed", waiting=len(self.spool), error=str(problem))
        finally:
            self._replayer = None

    async def _write_spool(self) -> None:
        if self.spool.is_on_disk:
            await asyncio.to_thread(self.spool.write)
        else:
            self.spool.write()

    async def _replay_some(self, deliveries: list[Delivery]) -> None:
        now = self._clock.now()
        try:
            await self._database.write(lambda c: replay(c, deliveries, now), within_s=REPLAY_WITHIN_S)
        except StorageUnavailable:
            raise
        except Exception:
            if len(deliveries) > 1:
                for delivery in deliveries:
                    await self._replay_some([delivery])
                return
            # It will not be stored the next time either. What it announces is found by a comparison.
            log.exception("replay_failed", kind=deliveries[0].event.object_type)
            self.spool.losses.add(deliveries[0].event.owner_id)
        self.spool.forget(delivery.event for delivery in deliveries)
        self._arrivals.notify()

    async def _note_losses(self) -> None:
        losses, now = self.spool.losses, self._clock.now()
        if losses:
            concerned = None if losses.everybody else sorted(losses.athletes)
            await athletes.note_lost_deliveries(self._database, concerned, now)
            self.spool.losses = Losses()

    async def close(self) -> None:
        """Wait for the groups that are being committed. Refused deliveries stay in the spool."""
        if self._committer is not None:
            await asyncio.wait([self._committer])
        if self._replayer is not None:
            self._replayer.cancel()
            await asyncio.wait([self._replayer])
        self.spool.close()


def _refuse(done: asyncio.Future[AcceptResult]) -> None:
    """End the wait for a commit that takes too long."""
    if not done.done():
        done.set_exception(StorageUnavailable(f"not committed within {COMMIT_WITHIN_S} s"))
        done.exception()  # a caller that is gone does not read it
