"""When to try again: capped exponential backoff with jitter."""

from __future__ import annotations

from datetime import timedelta

from .job import Job, Lane

FIRST_S = 2.0
CAP_S = 900.0

LIST_HEAD_START = timedelta(seconds=2)
"""How long fetches wait for a list that goes first."""

AFTER_WINDOW_S = 1.0, 5.0
"""The first and the last second after a window opens at which waiting jobs resume, spread between.

Not at once, because Strava's clock is known to the second only.
"""

_SLOTS_S = (0.2, 1.2, 1.2, 1.4)
"""Seconds of that time for each priority: lists that show many new activities in one call, other live
work, interactive work, everything else. The slots follow each other, so that low-priority jobs do not take
the first calls."""


def after_window_s(job: Job, share: float) -> float:
    """Return the seconds from a window's start until `job` resumes; `share` is a random in [0, 1)."""
    slot = 0 if job.kind == "list_activities" else _slot(job.lane)
    return AFTER_WINDOW_S[0] + sum(_SLOTS_S[:slot]) + share * _SLOTS_S[slot]


def last_after_window_s(lane: Lane) -> float:
    """Return the seconds from a window's start until the last job of a lane resumes."""
    return AFTER_WINDOW_S[0] + sum(_SLOTS_S[: _slot(lane) + 1])


def _slot(lane: Lane) -> int:
    return {Lane.LIVE: 1, Lane.INTERACTIVE: 2}.get(lane, 3)


def retry_delay_s(attempt: int, jitter: float) -> float:
    """Return the seconds to wait after failed attempt `attempt` (from 1); `jitter` is in [0, 1).

    The delay grows fourfold from FIRST_S up to CAP_S. The random jitter takes off up to half, so that jobs
    that failed together do not return together.
    """
    base = min(CAP_S, FIRST_S * 4.0 ** (attempt - 1))
    return float(base * (1 - jitter / 2))


NOT_READY_FIRST_S = 5.0
NOT_READY_FOR_S = 3600.0


def not_ready_delay_s(age_s: float) -> float | None:
    """Return the seconds until the next request for an announced activity that answered 404.

    `age_s` is the time since the announcement. The delays grow with it: 5 s, 10 s, 20 s, ... None after an
    hour: the activity is not visible to us. Of 5,712 recorded events, 34 answered 404 at first
    (docs/strava-api.md#webhook-events).
    """
    if age_s >= NOT_READY_FOR_S:
        return None
    return max(NOT_READY_FIRST_S, age_s)
