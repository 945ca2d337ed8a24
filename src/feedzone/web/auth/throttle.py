"""Limit wrong passwords and keys, so that guessing one takes longer than anyone has."""

from __future__ import annotations

from collections import OrderedDict

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from ...ports import Clock

PER_ADDRESS = RateLimitItemPerMinute(10, namespace="address")
"""Wrong passwords in a minute after which an address is refused until the minute is over."""

IN_TOTAL = RateLimitItemPerMinute(100, namespace="total")
"""The same for all addresses together, against guessers who share the work. It does not refuse addresses
that have signed in before: the operator must not be locked out.
"""

PER_BROWSER = RateLimitItemPerMinute(5, namespace="browser")
"""Wrong passwords in a minute of a browser in which an operator signed in before. Only these slow it: guesses
of others do not lock it out, not even from the same address.
"""

MAX_KNOWN_ADDRESSES = 1000


class Throttle:
    """Counts wrong passwords and keys in this process, per address and in total.

    The window is fixed: the moving window of `limits` keeps an entry in memory for each address forever.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._signed_in: OrderedDict[str, None] = OrderedDict()

    def wait_s(self, address: str, browser: str = "") -> int:
        """Return the seconds until this client may try again; 0 if it may now.

        `browser`: the id of a browser in which an operator signed in before.
        """
        if browser:
            if self._limiter.test(PER_BROWSER, browser):
                return 0
            return self._remaining(self._limiter.get_window_stats(PER_BROWSER, browser).reset_time)
        if not self._limiter.test(PER_ADDRESS, address):
            return self._remaining(self._limiter.get_window_stats(PER_ADDRESS, address).reset_time)
        if address in self._signed_in or self._limiter.test(IN_TOTAL):
            return 0
        return self._remaining(self._limiter.get_window_stats(IN_TOTAL).reset_time)

    def _remaining(self, reset_time: float) -> int:
        return max(0, int(reset_time - self._clock.now().timestamp())) + 1

    def failed(self, address: str, browser: str = "") -> None:
        if browser:
            self._limiter.hit(PER_BROWSER, browser)
            return
        self._limiter.hit(PER_ADDRESS, address)
        self._limiter.hit(IN_TOTAL)

    def succeeded(self, address: str) -> None:
        self._signed_in[address] = None
        self._signed_in.move_to_end(address)
        while len(self._signed_in) > MAX_KNOWN_ADDRESSES:
            self._signed_in.popitem(last=False)
