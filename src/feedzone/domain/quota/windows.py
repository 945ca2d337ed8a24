"""Strava's four rate limit windows, and their headers (docs/strava-api.md#rate-limits)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

WindowName = Literal["overall_15min", "overall_day", "read_15min", "read_day"]
WINDOWS: tuple[WindowName, ...] = ("overall_15min", "overall_day", "read_15min", "read_day")

DEFAULT_LIMITS: dict[WindowName, int] = {
    "overall_15min": 200,
    "overall_day": 2000,
    "read_15min": 100,
    "read_day": 1000,
}
"""The limits of a new application in 2026, in calls. The headers of the first answer replace them."""


def limits_of(overall: tuple[int, int], read: tuple[int, int]) -> dict[WindowName, int]:
    """Return the limit of each window. Each pair, as in headers: calls a quarter of an hour, calls a day."""
    return dict(zip(WINDOWS, (*overall, *read), strict=True))


class Window(msgspec.Struct, frozen=True):
    """One rate limit window as it stands: `used` of `quota` calls since `starts_at`, by Strava's clock."""

    name: WindowName
    starts_at: datetime
    ends_at: datetime
    quota: int
    used: int
    latched: bool = False
    """Whether Strava refused a call: then no call is made before `ends_at`, whatever `used` says."""
    others: int = 0
    """The part of `used` that Strava counted and we did not make."""
    backfill_calls: int = 0
    """The part of `used` that our backfills made."""

    @property
    def is_day(self) -> bool:
        return self.name.endswith("_day")

    @property
    def full(self) -> bool:
        """Whether no call may be made before `ends_at`."""
        return self.latched or self.used >= self.quota

    def after(self, calls: int, *, for_backfill: bool) -> Window:
        """Return the window after more calls."""
        backfill_calls = self.backfill_calls + (calls if for_backfill else 0)
        return msgspec.structs.replace(self, used=self.used + calls, backfill_calls=backfill_calls)

    def holds(self, instant: datetime) -> bool:
        """Whether the instant is within the window."""
        return self.starts_at <= instant < self.ends_at


class Reservation(msgspec.Struct, frozen=True):
    """Permission to make one call."""

    probe: bool = False
    """Whether the call asks if a switched-off application is on again."""
    alone: bool = False
    """Whether no other call is sent before this one is answered."""
    for_backfill: bool = False
    counted_since: tuple[datetime, ...] = ()
    """The starts of the windows that count it, by Strava's clock."""


class Reading(msgspec.Struct, frozen=True):
    """The reading of one window in one answer. None: the header was absent or made no sense."""

    limit: int | None = None
    used: int | None = None


Usage = dict[WindowName, Reading]


class ApiCall(msgspec.Struct, frozen=True):
    """One call, as it stands in the call log."""

    sent_at: datetime
    lane: str
    """The lane of the call's job. `none`: a call outside of jobs. `others`: a call that is not ours."""
    athlete_id: int | None
    endpoint: str
    """`GET activities/{id}`: without ids, so that calls can be counted by it."""
    status: int | None
    """None: no answer came."""
    ms: int
    usage: Usage
    """The windows as the answer's headers report them."""
    counted: bool
    """Whether it counts against the rate limit. A call that certainly did not reach Strava does not."""
    calls: int = 1
    """The number of calls that this entry stands for. Of other programs' calls we know only the number."""
    activity_id: int | None = None
    """The requested activity, if the call is about one."""


def parse_usage(headers: Mapping[str, str]) -> Usage:
    """Read the rate limit headers (lower-case names) of an answer. Return {} if there are none.

    Blank halves (Strava has sent `","`), extra values, decimals and negatives raise no error: a value that
    makes no sense is left out, never guessed. A limit that is not an integer is left out, too: a wrong limit
    could close a day.
    """
    usage: Usage = {}
    for scope, prefix in (("overall", "x-ratelimit"), ("read", "x-readratelimit")):
        limits = _pair(headers.get(f"{prefix}-limit"), _limit)
        used = _pair(headers.get(f"{prefix}-usage"), _count)
        for window, limit, count in zip(("15min", "day"), limits, used, strict=True):
            if limit is not None or count is not None:
                name: WindowName = f"{scope}_{window}"  # type: ignore[assignment]  # one of WINDOWS by construction
                usage[name] = Reading(limit, count)
    return usage


def _pair(text: str | None, read: Callable[[str], int | None]) -> tuple[int | None, int | None]:
    parts = (text or "").split(",")
    return read(parts[0]), read(parts[1]) if len(parts) > 1 else None


def _limit(text: str) -> int | None:
    count = _count(text)
    return count if count and count == float(text) else None


def _count(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if 0 <= value < 1e12 else None


def window_start(name: WindowName, now: datetime) -> datetime:
    """Return the start of the window that contains `now`.

    Windows follow the wall clock: they are quarters of an hour and UTC days, and do not slide.
    """
    now = now.astimezone(UTC)
    if name.endswith("_day"):
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    return now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)


def window_end(name: WindowName, now: datetime) -> datetime:
    """Return the instant at which the window that contains `now` ends and the next one starts."""
    return window_start(name, now) + (timedelta(days=1) if name.endswith("_day") else timedelta(minutes=15))
