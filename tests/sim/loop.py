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
from contextvars import Context, ContextVar, copy_context
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


class _Moment:
    """A timer that ends a future: all that the loop asks of an asyncio.TimerHandle, and cheaper."""

    __slots__ = ("_cancelled", "_context", "future")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._cancelled = False
        self._context = copy_context()
        self.future = future

    def _run(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class VirtualLoop(asyncio.BaseEventLoop):
    """`rng` shuffles what is ready at the same instant; without one, first come, first served."""

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._rounds = 0
        self._rng = rng
        self._clock_resolution = 1e-6
        self._timers: list[tuple[float, int, Any]] = []
        self._timer_count = 0

    def time(self) -> float:
        """Seconds since the beginning of the simulation."""
        return self._now

    def _write_to_self(self) -> None:
        """There are no threads to be woken by."""

    def _run_once(self) -> None:
        """What is ready; else jump to the next timer. (The one of a real loop also asks a selector.)"""
        self._rounds += 1
        if self._rounds > PATIENCE:
            raise LivelockError(f"{PATIENCE} rounds, and time stands still at {self._now} s")
        ready, timers = self._ready, self._timers
        if self._rng is not None and len(ready) > 1:
            mixed = list(ready)
            self._rng.shuffle(mixed)
            ready.clear()
            ready.extend(mixed)
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:
            self._jump()
        now = self._now + self._clock_resolution
        while timers and timers[0][0] < now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled and _may_run(handle):
                handle._run()

    def _jump(self) -> None:
        if not self._timers:
            raise DeadlockError("nothing is left to happen")
        if (when := self._timers[0][0]) > self._now:
            self._rounds = 0
            self._now = when

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def clear(self) -> None:
        """Forget everything that was to happen."""
        self._ready.clear()
        self._timers.clear()

    def moment(self, seconds: float) -> asyncio.Future[None]:
        """A sleep that costs less than asyncio's."""
        future: asyncio.Future[None] = self.create_future()
        self._timer_count += 1
        heapq.heappush(self._timers, (self._now + seconds, self._timer_count, _Moment(future)))
        return future

    def get_debug(self) -> bool:
        """Asked at every callback; not worth a look at the interpreter's flags."""
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, timer))
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
        self._ready.extend(handle for handle in owner.parked if not handle._cancelled)
        owner.parked.clear()
