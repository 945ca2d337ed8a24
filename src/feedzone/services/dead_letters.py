"""Dead letters: retry or discard."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..domain.outcome import FAILURES
from ..errors import InvalidInput, NotFound
from ..ports import Clock, Wakeup
from ..store.engine.database import Connection, Database
from ..store.jobs import dead_letters

UNDO_FOR = timedelta(minutes=1)


@dataclass(frozen=True)
class DeadLetterService:
    database: Database
    clock: Clock
    wakeup: Wakeup
    _kept: dict[str, tuple[datetime, dead_letters.Kept]] = field(default_factory=dict, repr=False)

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

        def body(connection: Connection) -> int:
            letters = dead_letters.listing(connection, error_class)
            return sum(dead_letters.requeue(connection, letter.id, now) for letter in letters)

        requeued = await self.database.write(body)
        self.wakeup.notify()
        return requeued

    async def discard(self, job_id: str, reason: str) -> None:
        """Drop a dead letter; its events keep the reason. Raises NotFound, InvalidInput."""
        if not reason.strip():
            raise InvalidInput("reason: say why, it is kept with the events")
        now = self.clock.now()

        def body(connection: Connection) -> dead_letters.Kept | None:
            kept = dead_letters.keep(connection, job_id)
            return kept if dead_letters.discard(connection, job_id, reason.strip(), now) else None

        kept = await self.database.write(body)
        if kept is None:
            raise NotFound(f"there is no dead letter {job_id}")
        self._forget_old(now)
        self._kept[job_id] = now, kept

    async def restore(self, job_id: str) -> bool:
        """Take `discard` back, within UNDO_FOR and where it was done; False when it is too late.

        What undoing takes is kept in memory: what was discarded may name what nobody wants to keep.
        """
        self._forget_old(self.clock.now())
        _, kept = self._kept.pop(job_id, (None, None))
        return kept is not None and await self.database.write(lambda c: dead_letters.restore(c, kept))

    def _forget_old(self, now: datetime) -> None:
        for job_id in [one for one, (since, _) in self._kept.items() if now - since > UNDO_FOR]:
            del self._kept[job_id]
