"""How a failure ends a job: which ones wait, which are tried again, which are final (contract section 10)."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from ..domain.effect import Effect, MarkAthlete
from ..domain.outcome import Discard, Outcome, Retry, Snooze
from ..errors import (
    AppInactive,
    NeedsScope,
    NotConnected,
    QuotaSpent,
    RateLimited,
    StravaError,
    TokenRevoked,
    TransientError,
    TransportFailure,
)

WINDOW_JITTER_S = 5.0
"""After a window opens again, waiting jobs come back spread over this many seconds."""

INACTIVE_PROBE = timedelta(hours=1)


def ending(
    error: StravaError,
    athlete_id: int,
    now: datetime,
    rng: random.Random,
    *,
    effects: tuple[Effect, ...] = (),
    if_last: tuple[Effect, ...] = (),
) -> Outcome:
    """The outcome of a job that `error` stopped; `effects` are written whatever it is."""
    match error:
        case QuotaSpent(until=datetime() as until):
            jitter = timedelta(seconds=0.2 + rng.random() * WINDOW_JITTER_S)
            return Snooze(until + jitter, str(error), effects)
        case AppInactive():
            return Snooze(now + INACTIVE_PROBE, f"Strava has switched the application off: {error}", effects)
        case NeedsScope():
            reason = "the athlete has not granted activity:read: connect again and tick it"
            mark = MarkAthlete(athlete_id, "needs_scope", reason)
            return Discard(f"{reason} ({error})", (*effects, mark), if_last)
        case TokenRevoked() | NotConnected():
            return Discard(str(error), effects, if_last)
        case TransientError() | TransportFailure() | RateLimited():
            return Retry(str(error), effects, if_last=if_last)
        case _:
            return Discard(str(error), effects, if_last)
