"""How many deliveries the webhook takes.

Strava delivers from few addresses, perhaps all through one proxy, so no address is refused as such. Only
worthless deliveries are refused: junk, and events of unknown athletes. An event of a connected athlete is
always stored. Past the athlete's limit it costs no call of its own (dispatcher.py).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from ..ports import Clock

MOST_KEYS = 10_000
"""Addresses and athletes that are counted at the same time. Beyond that the oldest are forgotten."""


@dataclass(frozen=True)
class Limits:
    """Deliveries in a minute, counted by each process alone."""

    junk: int = 60
    """Of one address: bodies without an event, and wrong handshakes."""
    unknown: int = 600
    """Of one address: events of unknown athletes."""
    athlete: int = 600
    """Of one athlete: events without a verified signature. Further ones share one list call."""


class Admission:
    """Counts what arrives, by address and athlete."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._clock = clock
        self._has_unknown = False
        self._counters = BoundedStorage(clock)
        self._limiter = FixedWindowRateLimiter(self._counters)
        self._junk = RateLimitItemPerMinute(limits.junk, namespace="junk")
        self._unknown = RateLimitItemPerMinute(limits.unknown, namespace="unknown")
        self._athlete = RateLimitItemPerMinute(limits.athlete, namespace="athlete")

    def crowds(self, owner_id: int) -> bool:
        """Count an unproven event of an athlete; return whether it is past the athlete's limit."""
        # Not through the limiter: this runs for every event.
        return self._counters.incr(f"athlete/{owner_id}", self._athlete.get_expiry()) > self._athlete.amount

    def count_junk(self, address: str) -> int:
        """Count a worthless delivery; return the seconds until the address may send more. 0: it is within."""
        key = network_of(address)
        return 0 if self._limiter.hit(self._junk, key) else self._wait_s(self._junk, key)

    def count_unknown(self, address: str) -> None:
        """Count an event of an unknown athlete."""
        self._has_unknown = True
        self._limiter.hit(self._unknown, network_of(address))

    def unknown_wait_s(self, address: str) -> int:
        """Return the seconds until this address may send events of unknown athletes again; 0: now."""
        if not self._has_unknown:
            return 0
        key = network_of(address)
        return 0 if self._limiter.test(self._unknown, key) else self._wait_s(self._unknown, key)

    def _wait_s(self, item: RateLimitItemPerMinute, key: str) -> int:
        reset = self._limiter.get_window_stats(item, key).reset_time
        return max(0, int(reset - self._clock.now().timestamp())) + 1


def network_of(address: str) -> str:
    """Return the network that one sender controls: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    except ValueError:
        return address


class BoundedStorage(Storage):
    """The counters in memory: a bounded number, and by the clock of the process.

    `MemoryStorage` of the library reads the system's time, and starts a thread to remove old counters.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock, most: int = MOST_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock.now().timestamp()
        count, ends = self._counters.get(key, (0, 0.0))
        if not now < ends <= now + expiry:
            count, ends = 0, now + expiry
            self._counters.pop(key, None)
            while len(self._counters) >= self._most:
                self._counters.popitem(last=False)
        self._counters[key] = (count + amount, ends)
        return count + amount

    def get(self, key: str) -> int:
        count, ends = self._counters.get(key, (0, 0.0))
        return count if self._clock.now().timestamp() < ends else 0

    def get_expiry(self, key: str) -> float:
        return self._counters.get(key, (0, self._clock.now().timestamp()))[1]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._counters)
        self._counters.clear()
        return count

    def clear(self, key: str) -> None:
        self._counters.pop(key, None)
