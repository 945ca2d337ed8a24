"""Retry, discard and restore dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..domain.outcome import FAILURES
from ..errors import InvalidInput, NotFound
from ..ports import Clock, Wakeup
from ..store import undispatched
from ..store.engine.database import Database
from ..store.jobs import dead_letters

UNDO_FOR = timedelta(minutes=1)


@dataclass(frozen=True)
class DeadLetterService:
    database: Database
    clock: Clock
    wakeup: Wakeup
    arrivals: Wakeup

    async def retry(self, job_id: str) -> None:
        """Run a dead letter again, with a new set of attempts. Raises NotFound."""
        now = self.clock.now()
        if not await self.database.write(lambda c: dead_letters.requeue(c, job_id, now)):
            raise NotFound(f"there is no dead letter {job_id}")
        self.wakeup.notify()

    async def retry_all(self, error_class: str | None = None) -> int:
        """Run all dead letters again, or those of an error class; return their number.

        Without a class, the events count too that could not be turned into jobs: they are tried again.

        Raises InvalidInput for an unknown class.
        """
        if error_class is not None and error_class not in FAILURES:
            raise InvalidInput(f"unknown error class {error_class}; the classes are: {', '.join(FAILURES)}")
        now = self.clock.now()
        requeued = await dead_letters.requeue_all(self.database, dead_letters.of_class(error_class), now)
        if error_class is None and await self._has_set_aside():
            requeued += await undispatched.take_up(self.database)
            self.arrivals.notify()
        self.wakeup.notify()
        return requeued

    async def _has_set_aside(self) -> bool:
        return await self.database.read(undispatched.count_set_aside) > 0

    async def discard(self, job_id: str, reason: str) -> None:
        """Discard a dead letter; its events keep the reason. Raises NotFound, InvalidInput."""
        if not reason.strip():
            raise InvalidInput("reason: say why; it is stored with the events")
        now = self.clock.now()

        if not await self.database.write(lambda c: dead_letters.discard(c, job_id, reason.strip(), now)):
            raise NotFound(f"there is no dead letter {job_id}")

    async def restore(self, job_id: str) -> bool:
        """Undo `discard` within UNDO_FOR. False when it is too late, or the athlete has left."""
        since = self.clock.now() - UNDO_FOR
        return await self.database.write(lambda c: dead_letters.restore(c, job_id, since))
