"""The application's rate limits: two budgets of two windows each (docs/strava-api.md#rate-limits)."""

from __future__ import annotations

from dataclasses import dataclass

QUARTER_S = 900
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls allowed per 15 minutes and per UTC day, overall and for reads; defaults of a new application."""

    short: int = 200
    daily: int = 2_000
    read_short: int = 100
    read_daily: int = 1_000


UNLIMITED = Limits(10**9, 10**9, 10**9, 10**9)


class Meter:
    """Counts calls against limits that may change at any time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._short = self._daily = self._read_short = self._read_daily = 0
        self._quarter = self._day = -1

    def spend(self, now: float, *, read: bool = True, calls: int = 1) -> str | None:
        """Count calls; return the name of the budget that was exhausted before them, else None.

        A refused call counts too, so that retrying in an exhausted 15-minute window also uses up the day.
        """
        self._reset_windows(now)
        exhausted = self._exhausted(read)
        self._short += calls
        self._daily += calls
        if read:
            self._read_short += calls
            self._read_daily += calls
        return exhausted

    def headers(self, now: float, *, full: bool = True) -> list[tuple[str, str]]:
        """Return the four headers.

        Push subscription calls (`full=False`) carry only the overall pair, with usage zero
        (docs/strava-api.md#push-subscriptions).
        """
        self._reset_windows(now)
        limits = self.limits
        if not full:
            return [
                ("x-ratelimit-limit", f"{limits.short},{limits.daily}"),
                ("x-ratelimit-usage", "0,0"),
            ]
        return [
            ("x-ratelimit-limit", f"{limits.short},{limits.daily}"),
            ("x-ratelimit-usage", f"{self._short},{self._daily}"),
            ("x-readratelimit-limit", f"{limits.read_short},{limits.read_daily}"),
            ("x-readratelimit-usage", f"{self._read_short},{self._read_daily}"),
        ]

    def usage(self, now: float) -> dict[str, int]:
        """Return the calls counted in the current windows."""
        self._reset_windows(now)
        return {
            "short": self._short,
            "daily": self._daily,
            "read_short": self._read_short,
            "read_daily": self._read_daily,
        }

    def _exhausted(self, read: bool) -> str | None:
        if self._short >= self.limits.short or self._daily >= self.limits.daily:
            return "overall rate limit"
        if not read:
            return None
        if self._read_short >= self.limits.read_short or self._read_daily >= self.limits.read_daily:
            return "rate limit"
        return None

    def _reset_windows(self, now: float) -> None:
        quarter, day = int(now // QUARTER_S), int(now // DAY_S)
        if quarter != self._quarter:
            self._quarter, self._short, self._read_short = quarter, 0, 0
        if day != self._day:
            self._day, self._daily, self._read_daily = day, 0, 0
