"""Strava's rate limits: four windows, and how to read the headers that report them (contract section 10)."""

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
"""What a new application gets in 2026. Only a start: the headers win."""


def limits_of(overall: tuple[int, int], read: tuple[int, int]) -> dict[WindowName, int]:
    """The limits of all windows, each given for a quarter of an hour and for a day, as headers have them."""
    return dict(zip(WINDOWS, (*overall, *read), strict=True))


class Window(msgspec.Struct, frozen=True):
    """One rate limit window as it stands: `used` of `quota` calls since `starts_at`, by Strava's clock."""

    name: WindowName
    starts_at: datetime
    ends_at: datetime
    quota: int
    used: int
    latched: bool = False
    others: int = 0
    """Of `used`: calls that Strava counted and we did not make."""
    history: int = 0
    """Of `used`: calls of ours for histories."""

    @property
    def is_day(self) -> bool:
        return self.name.endswith("_day")

    @property
    def full(self) -> bool:
        """Whether no call may be made before `ends_at`."""
        return self.latched or self.used >= self.quota

    def after(self, calls: int, *, for_history: bool) -> Window:
        """When so many more have been made."""
        more = calls if for_history else 0
        return msgspec.structs.replace(self, used=self.used + calls, history=self.history + more)

    def holds(self, instant: datetime) -> bool:
        """Whether that is within the window."""
        return self.starts_at <= instant < self.ends_at

    def anew(self, start: datetime) -> Window:
        """The window that begins then."""
        return Window(self.name, start, window_end(self.name, start), self.quota, 0)


class Reservation(msgspec.Struct, frozen=True):
    """Leave to make one call."""

    probe: bool = False
    """It asks whether an application that was switched off is on again."""
    alone: bool = False
    """No other call leaves before this one is answered."""
    for_history: bool = False


class Reading(msgspec.Struct, frozen=True):
    """What one answer said of one window; None where the header was absent or made no sense."""

    limit: int | None = None
    used: int | None = None


Usage = dict[WindowName, Reading]


class ApiCall(msgspec.Struct, frozen=True):
    """One call that was sent, as the journal remembers it."""

    sent_at: datetime
    lane: str
    """Of the job it was made for; `none` for calls outside of jobs, `others` for calls that are not ours."""
    athlete_id: int | None
    endpoint: str
    """`GET activities/{id}`: without ids, so that calls can be counted by it."""
    status: int | None
    """None: no answer came."""
    ms: int
    usage: Usage
    """What the answer's headers said of the windows."""
    counted: bool
    """Whether it counts against the rate limit: one that surely never reached Strava does not."""
    calls: int = 1
    """How many calls this stands for: of others we see only how many there were."""
    activity_id: int | None = None
    """The activity that was asked for, if it was one."""


def parse_usage(headers: Mapping[str, str]) -> Usage:
    """Read the rate limit headers (lower-case names) of an answer; {} when there are none.

    Tolerant of blank halves (`","` was recorded), extra values, decimals, negatives: what makes no
    sense is left out, never guessed. A limit of a broken number of calls makes none: to believe a wrong one
    would close a whole day.
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
    """Windows are wall-clock: quarters of an hour and UTC days, not sliding."""
    now = now.astimezone(UTC)
    if name.endswith("_day"):
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    return now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)


def window_end(name: WindowName, now: datetime) -> datetime:
    return window_start(name, now) + (timedelta(days=1) if name.endswith("_day") else timedelta(minutes=15))
