"""An event loop whose time is virtual: when nothing is ready, it jumps to the next timer.

Nothing real gets in: no sockets, no threads, no wall clock. What is ready at the same instant runs in an
order that the seed decides, so that other seeds try other interleavings. A process that was killed has no
future: its callbacks are dropped when their time comes, so not even a `finally` block of it runs. A process
that is stalled (as if the machine slept) gets them all at once when it wakes.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, Protocol


class Owner(Protocol):
    """The process that a callback belongs to."""

    alive: bool
    stalled: bool
    parked: list[asyncio.Handle]


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)
"""Set in the context of everything that a simulated process does; unset for the world around it."""


PATIENCE = 100_000


class LivelockError(Exception):
    """Something goes round and round, and never waits."""


class DeadlockError(Exception):
    """Nothing is ready, no timer is set: nothing will ever happen again."""


def _may_run(handle: asyncio.Handle) -> bool:
    owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
    if owner is None or (owner.alive and not owner.stalled):
        return True
    if owner.alive:
        owner.parked.append(handle)
    return False


class _Handle(asyncio.Handle):
    def _run(self) -> None:
        if _may_run(self):
            super()._run()


class _TimerHandle(asyncio.TimerHandle):
    def _run(self) -> None:
        if _may_run(self):
            super()._run()


class VirtualLoop(asyncio.BaseEventLoop):
    """`rng` shuffles what is ready at the same instant; without one, first come, first served."""

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._rounds = 0
        self._rng = rng
        self._clock_resolution = 1e-6
        self._selector = self

    def time(self) -> float:
        """Seconds since the beginning of the simulation."""
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What the selector of a real loop does: wait. Here, waiting is a jump."""
        if timeout is None:
            raise DeadlockError("nothing is left to happen")
        if timeout > 0:
            self._rounds = 0
            self._now = max(self._now, min(self._now + timeout, self._scheduled[0]._when))
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no threads to be woken by."""

    def _run_once(self) -> None:
        self._rounds += 1
        if self._rounds > PATIENCE:
            raise LivelockError(f"{PATIENCE} rounds, and time stands still at {self._now} s")
        if self._rng is not None and len(self._ready) > 1:
            ready = list(self._ready)
            self._rng.shuffle(ready)
            self._ready.clear()
            self._ready.extend(ready)
        super()._run_once()

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        timer = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Inline: a thread would bring real time into the world."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as problem:
            future.set_exception(problem)
        return future

    def resume(self, owner: Owner) -> None:
        """Let a stalled process go on, with everything that has come due meanwhile."""
        owner.stalled = False
        self._ready.extend(handle for handle in owner.parked if not handle.cancelled())
        owner.parked.clear()
