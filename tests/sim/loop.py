"""An event loop with virtual time: if no callback is ready, time jumps to the next timer.

The loop uses no sockets, no threads and no wall clock. The seed decides the order of callbacks that are ready
at the same instant, so other seeds try other interleavings. The loop drops the callbacks of a killed process
when they become due, so not even its `finally` blocks run. It parks the callbacks of a stalled process (as if
the machine slept), which gets all of them at once when it wakes.
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
"""The simulated process that runs now; None in the world around the processes."""


MAX_ROUNDS = 100_000
"""Rounds without progress of time, after which the loop assumes a livelock."""


class LivelockError(Exception):
    """Callbacks keep running, but time does not advance."""


class DeadlockError(Exception):
    """No callback is ready and no timer is set, so the world cannot continue."""


def _may_run(handle: asyncio.Handle) -> bool:
    owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
    if owner is None or (owner.alive and not owner.stalled):
        return True
    if owner.alive:
        owner.parked.append(handle)
    return False


class _Sleep:
    """A timer that completes a future: what the loop needs of an asyncio.TimerHandle, but cheaper."""

    __slots__ = ("_cancelled", "_context", "future")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._cancelled = False
        self._context = copy_context()
        self.future = future

    def _run(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class VirtualLoop(asyncio.BaseEventLoop):
    """`rng` shuffles callbacks that are ready at the same instant. Without it, the oldest runs first."""

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._rounds = 0
        self._rng = rng
        self._clock_resolution = 1e-6
        self._timers: list[tuple[float, int, Any]] = []
        self._timer_count = 0

    def time(self) -> float:
        """Return the seconds since the beginning of the simulation."""
        return self._now

    def _write_to_self(self) -> None:
        """Do nothing: no other thread exists that could wake the loop."""

    def _run_once(self) -> None:
        """Run the ready callbacks, or jump to the next timer. (A real loop also asks a selector.)"""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise LivelockError(f"{MAX_ROUNDS} rounds without progress at {self._now} s")
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
            raise DeadlockError("no callback is ready and no timer is set")
        if (when := self._timers[0][0]) > self._now:
            self._rounds = 0
            self._now = when

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: `_run_once` skips a cancelled timer."""

    def clear(self) -> None:
        """Drop all callbacks and timers."""
        self._ready.clear()
        self._timers.clear()

    def sleep(self, seconds: float) -> asyncio.Future[None]:
        """Return a future that completes after `seconds`. It costs less than asyncio.sleep."""
        future: asyncio.Future[None] = self.create_future()
        self._timer_count += 1
        heapq.heappush(self._timers, (self._now + seconds, self._timer_count, _Sleep(future)))
        return future

    def get_debug(self) -> bool:
        """Return False: asyncio calls this for every callback, and its own version reads the environment."""
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
        """Run `func` inline: a thread would bring real time into the world."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as problem:
            future.set_exception(problem)
        return future

    def resume(self, owner: Owner) -> None:
        """Resume a stalled process with all callbacks that became due during the stall."""
        owner.stalled = False
        self._ready.extend(handle for handle in owner.parked if not handle._cancelled)
        owner.parked.clear()
