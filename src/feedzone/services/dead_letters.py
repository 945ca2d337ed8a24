"""Retry, discard and restore dead letters."""

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
    _discarded: dict[str, tuple[datetime, dead_letters.Kept]] = field(default_factory=dict, repr=False)

    async def retry(self, job_id: str) -> None:
        """Run a dead letter again, with a new set of attempts. Raises NotFound."""
        now = self.clock.now()
        if not await self.database.write(lambda c: dead_letters.requeue(c, job_id, now)):
            raise NotFound(f"there is no dead letter {job_id}")
        self.wakeup.notify()

    async def retry_all(self, error_class: str | None = None) -> int:
        """Run all dead letters again, or those of an error class; return their number.

        Raises InvalidInput for an unknown class.
        """
        if error_class is not None and error_class not in FAILURES:
            raise InvalidInput(f"unknown error class {error_class}; the classes are: {', '.join(FAILURES)}")
        now = self.clock.now()

        def body(connection: Connection) -> int:
            letters = dead_letters.listing(connection, error_class)
            return sum(dead_letters.requeue(connection, letter.id, now) for letter in letters)

        requeued = await self.database.write(body)
        self.wakeup.notify()
        return requeued

    async def discard(self, job_id: str, reason: str) -> None:
        """Discard a dead letter; its events keep the reason. Raises NotFound, InvalidInput."""
        if not reason.strip():
            raise InvalidInput("reason: say why; it is stored with the events")
        now = self.clock.now()

        def body(connection: Connection) -> dead_letters.Kept | None:
            letter = dead_letters.keep(connection, job_id)
            return letter if dead_letters.discard(connection, job_id, reason.strip(), now) else None

        letter = await self.database.write(body)
        if letter is None:
            raise NotFound(f"there is no dead letter {job_id}")
        self._forget_old(now)
        self._discarded[job_id] = now, letter

    async def restore(self, job_id: str) -> bool:
        """Undo `discard`, within UNDO_FOR and in the same process; False when it is too late.

        The discarded row stays in memory only: it may contain data that must not be stored any longer.
        """
        self._forget_old(self.clock.now())
        _, letter = self._discarded.pop(job_id, (None, None))
        return letter is not None and await self.database.write(lambda c: dead_letters.restore(c, letter))

    def _forget_old(self, now: datetime) -> None:
        for job_id in [job_id for job_id, (since, _) in self._discarded.items() if now - since > UNDO_FOR]:
            del self._discarded[job_id]
