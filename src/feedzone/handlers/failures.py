"""How a failure ends a job: which ones wait, which are retried, which are final."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from ..domain.backoff import after_window_s
from ..domain.effect import Effect, MarkAthlete
from ..domain.job import Job
from ..domain.outcome import Discard, Done, Outcome, Retry, Snooze, WaitReason
from ..errors import (
    ApiError,
    AppInactive,
    ApplicationPaused,
    ApplicationRefused,
    NeedsRefresh,
    NeedsScope,
    QuotaSpent,
    RateLimited,
    RefreshPending,
    StravaError,
    TransientError,
    TransportFailure,
)

BEHIND_THE_PROBE = timedelta(minutes=5)
"""The longest wait after a probe that another job makes. A probe that succeeds ends it."""


def ending(
    error: StravaError,
    job: Job,
    now: datetime,
    rng: random.Random,
    *,
    effects: tuple[Effect, ...] = (),
    if_last: tuple[Effect, ...] = (),
) -> Outcome:
    """The outcome of the `job` that `error` stopped; `effects` are written whatever it is."""
    kind = error.error_class
    status = error.status if isinstance(error, ApiError) else None
    match error:
        case QuotaSpent(until=datetime() as until) | ApplicationPaused(until=datetime() as until):
            jitter = timedelta(seconds=after_window_s(job, rng.random()))
            if isinstance(error, ApplicationPaused) and error.spare:
                jitter += BEHIND_THE_PROBE * rng.random()
            wait_reason: WaitReason = "quota" if isinstance(error, QuotaSpent) else "breaker"
            return Snooze(max(until, now) + jitter, str(error), effects, wait_reason=wait_reason)
        case RefreshPending(until=datetime() as until):
            return Snooze(max(until, now) + timedelta(seconds=rng.random()), str(error), effects)
        case StravaError(again_after_s=pause_s) if pause_s is not None:
            # Half of the jobs earlier, half later: those that failed together do not return together.
            until = now + timedelta(seconds=pause_s * (0.75 + rng.random() / 2))
            waits_for: WaitReason = "retry" if error.waits_alone else "no_answer"
            return Snooze(until, str(error), effects, wait_reason=waits_for)
        case NeedsScope():
            reason = "the athlete has not granted activity:read: connect again and tick it"
            mark = MarkAthlete(job.athlete_id, "needs_scope", reason)
            return Discard(f"{reason} ({error})", (*effects, mark), if_last, kind, status)
        case (
            TransientError()
            | TransportFailure()
            | RateLimited()
            | NeedsRefresh()
            | AppInactive()
            | ApplicationRefused()
        ):
            return Retry(str(error), effects, if_last=if_last, kind=kind, http_status=status)
        case _:
            return Discard(str(error), effects, if_last, kind, status)


def optional_ending(
    error: StravaError,
    job: Job,
    now: datetime,
    rng: random.Random,
    *,
    max_attempts: int,
    instead: Callable[[str], Done],
) -> Outcome:
    """Return `ending` for an optional job: instead of a dead letter, the outcome of `instead`."""
    match ending(error, job, now, rng):
        case Snooze() as waits:
            return waits
        case Retry() as again if job.attempts + 1 < max_attempts:
            return again
        case _:
            return instead(f"{error.error_class}: {error}")
