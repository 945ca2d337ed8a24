"""When to try again: capped exponential backoff with jitter."""

from __future__ import annotations

from .job import Job, Lane

FIRST_S = 2.0
CAP_S = 900.0

AFTER_WINDOW_S = 1.0, 5.0
"""After a window has opened again, waiting jobs come back so many seconds later, spread. Not at once:
Strava's clock is known to the second only."""

_TURNS = (0.2, 1.2, 1.2, 1.4)
"""How much of that time is for whom: lists that show many new activities in one call, other live work,
interactive work, what can wait. They come back one after the other, lest what can wait be first."""


def after_window_s(job: Job, share: float) -> float:
    """Seconds from a window's begin until `job` comes back; `share` is a random in [0, 1)."""
    turn = 0 if job.kind == "list_activities" else _turn(job.lane)
    return AFTER_WINDOW_S[0] + sum(_TURNS[:turn]) + share * _TURNS[turn]


def last_after_window_s(lane: Lane) -> float:
    """Seconds from a window's begin until the last of a lane comes back."""
    return AFTER_WINDOW_S[0] + sum(_TURNS[: _turn(lane) + 1])


def _turn(lane: Lane) -> int:
    return {Lane.LIVE: 1, Lane.INTERACTIVE: 2}.get(lane, 3)


def retry_delay_s(attempt: int, jitter: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1); `jitter` is a random in [0, 1).

    Grows fourfold from FIRST_S up to CAP_S; the jitter takes off up to half, so that jobs which failed
    together do not come back together.
    """
    base = min(CAP_S, FIRST_S * 4.0 ** (attempt - 1))
    return float(base * (1 - jitter / 2))


NOT_READY_FIRST_S = 5.0
NOT_READY_FOR_S = 3600.0


def not_ready_delay_s(age_s: float) -> float | None:
    """Seconds until an activity that Strava announced but does not show is asked for again.

    `age_s` is the time since it was announced. The delays grow with it: 5 s, 10 s, 20 s, ... None after
    an hour: it is not visible to us (pain 21: 34 of 5,712 events answered 404 at first).
    """
    if age_s >= NOT_READY_FOR_S:
        return None
    return max(NOT_READY_FIRST_S, age_s)
