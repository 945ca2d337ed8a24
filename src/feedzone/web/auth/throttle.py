"""Guessing a password takes longer than anyone has."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta

from ...ports import Clock

FAILURES = 10
WITHIN = timedelta(minutes=1)
"""After FAILURES wrong passwords WITHIN this time, an address is refused until they are older than that."""

ALL_FAILURES = 100
"""After so many from wherever, only addresses that have signed in before are heard: many guess together."""

ADDRESSES = 1000
"""How many addresses are remembered."""


class Throttle:
    """Counts failures, by address and in all, in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._all: deque[datetime] = deque(maxlen=ALL_FAILURES)
        self._known: OrderedDict[str, None] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Seconds that this address has to wait before it is heard again; 0 when it need not."""
        own = self._wait(self._failures.get(address, deque()), FAILURES)
        return own or (0 if address in self._known else self._wait(self._all, ALL_FAILURES))

    def _wait(self, failures: deque[datetime], most: int) -> int:
        now = self._clock.now()
        while failures and failures[0] <= now - WITHIN:
            failures.popleft()
        return int((failures[0] + WITHIN - now).total_seconds()) + 1 if len(failures) >= most else 0

    def failed(self, address: str) -> None:
        now = self._clock.now()
        self._failures.setdefault(address, deque(maxlen=FAILURES)).append(now)
        self._failures.move_to_end(address)
        self._all.append(now)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        self._known[address] = None
        self._known.move_to_end(address)
        while len(self._known) > ADDRESSES:
            self._known.popitem(last=False)
