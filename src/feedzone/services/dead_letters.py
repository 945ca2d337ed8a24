"""Dead letters: retry or discard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..domain.outcome import FAILURES
from ..errors import InvalidInput, NotFound
from ..ports import Clock, Wakeup
from ..store.engine.database import Database
from ..store.jobs import dead_letters

UNDO_FOR = timedelta(minutes=1)


@dataclass(frozen=True)
class DeadLetterService:
    database: Database
    clock: Clock
    wakeup: Wakeup

    async def retry(self, job_id: str) -> None:
        """Run a dead letter again, with all its attempts. Raises NotFound."""
        now = self.clock.now()
        if not await self.database.write(lambda c: dead_letters.requeue(c, job_id, now)):
            raise NotFound(f"there is no dead letter {job_id}")
        self.wakeup.notify()

    async def retry_all(self, error_class: str | None = None) -> int:
        """Run every dead letter again, or every one of a class of failure; returns how many.

        Raises InvalidInput for a class that there is not.
        """
        if error_class is not None and error_class not in FAILURES:
            raise InvalidInput(
                f"there is no class {error_class} of failures; there are: {', '.join(FAILURES)}"
            )
        now = self.clock.now()
        dead = await self.database.read(lambda c: [row.id for row in dead_letters.listing(c, error_class)])
        revived = await self.database.write(
            lambda c: sum(dead_letters.requeue(c, job_id, now) for job_id in dead)
        )
        self.wakeup.notify()
        return revived

    async def discard(self, job_id: str, reason: str) -> None:
        """Drop a dead letter; its events keep the reason. Raises NotFound, InvalidInput."""
        if not reason.strip():
            raise InvalidInput("reason: say why, it is kept with the events")
        now = self.clock.now()

        if not await self.database.write(lambda c: dead_letters.discard(c, job_id, reason.strip(), now)):
            raise NotFound(f"there is no dead letter {job_id}")

    async def restore(self, job_id: str) -> bool:
        """Undo `discard` within UNDO_FOR. False when it is too late, or the athlete has left."""
        since = self.clock.now() - UNDO_FOR
        return await self.database.write(lambda c: dead_letters.restore(c, job_id, since))
