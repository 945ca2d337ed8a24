"""Strava's rate limits: four windows, and how to read the headers that report them (contract section 10)."""

from __future__ import annotations

from collections.abc import Mapping
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


class Reading(msgspec.Struct, frozen=True):
    """What one answer said of one window; None where the header was absent or made no sense."""

    limit: int | None = None
    used: int | None = None


Usage = dict[WindowName, Reading]


class ApiCall(msgspec.Struct, frozen=True):
    """One call that was sent, as the journal remembers it."""

    sent_at: datetime
    lane: str
    """Of the job it was made for; `none` for calls outside of jobs."""
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


def parse_usage(headers: Mapping[str, str]) -> Usage:
    """Read the rate limit headers (lower-case names) of an answer; {} when there are none.

    Tolerant of blank halves (`","` was recorded), extra values, decimals, negatives: what makes no
    sense is left out, never guessed.
    """
    usage: Usage = {}
    for scope, prefix in (("overall", "x-ratelimit"), ("read", "x-readratelimit")):
        limits = _pair(headers.get(f"{prefix}-limit"))
        used = _pair(headers.get(f"{prefix}-usage"))
        for window, limit, count in zip(("15min", "day"), limits, used, strict=True):
            if limit is not None or count is not None:
                name: WindowName = f"{scope}_{window}"  # type: ignore[assignment]  # one of WINDOWS by construction
                usage[name] = Reading(limit if limit else None, count)
    return usage


def _pair(text: str | None) -> tuple[int | None, int | None]:
    parts = (text or "").split(",")
    return _count(parts[0]), _count(parts[1]) if len(parts) > 1 else None


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


def windows_for(*, read: bool) -> tuple[WindowName, ...]:
    """The windows that a call counts in: reads count in all four."""
    return WINDOWS if read else ("overall_15min", "overall_day")
