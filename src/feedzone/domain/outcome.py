"""How a job's run can end. Expected endings are values; exceptions are for surprises."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from .effect import Effect
from .job import Hint, JobSpec, Lane

WaitReason = Literal["quota", "breaker", "debounce", "list_first", "retry", "unproven", "no_answer"]
"""Why a job is put off: the rate limit is spent, the circuit breaker is open, more updates may come, one list
call goes first, the last run got no result, unproven events have had their share of calls, or Strava does not
answer."""

LONG_WAITS: tuple[WaitReason, ...] = ("quota", "breaker", "retry", "unproven", "no_answer")
"""The reasons that may last. The others put a job off for seconds."""

FAILURES = (
    "no_answer",
    "strava_error",
    "rate_limited",
    "application_refused",
    "needs_scope",
    "token_rejected",
    "revoked",
    "not_connected",
    "not_visible",
    "refused",
    "other",
)
"""Classes of failure. People find dead letters by them; each error has one (errors.py)."""

PASSING = ("no_answer", "strava_error", "rate_limited", "application_refused")
"""Classes of failure that pass without a decision about each: by themselves, or after a setting is fixed."""


class Done(msgspec.Struct, frozen=True):
    """The object is up to date."""

    effects: tuple[Effect, ...] = ()
    note: str | None = None
    """For people, in the event's `error_message`: why the job is done without the usual result."""
    then: tuple[JobSpec, ...] = ()
    """Jobs to enqueue after this one, for example a recheck of the same object."""
    about: Literal["create", "update", "delete"] | None = None
    """The events of the job that get the note. None: all of them."""


class Continue(msgspec.Struct, frozen=True):
    """A part is done. The rest continues at once, as a run of its own with all its attempts left."""

    effects: tuple[Effect, ...]
    hint: Hint
    """Where the next run begins."""
    lane: Lane | None = None
    """The lane of the rest, where it goes first. None: the same lane as before."""


class Snooze(msgspec.Struct, frozen=True):
    """Try later, without spending an attempt: nobody is at fault."""

    until: datetime
    reason: str
    effects: tuple[Effect, ...] = ()
    hint: Hint | None = None
    """Replaces the job's hint, so that the next run goes on where this one stopped."""
    wait_reason: WaitReason = "retry"


class Retry(msgspec.Struct, frozen=True):
    """A failure that may pass. It costs an attempt; after the last one the job is a dead letter."""

    error: str
    effects: tuple[Effect, ...] = ()
    hint: Hint | None = None
    if_last: tuple[Effect, ...] = ()
    """Written too when this was the last attempt."""
    kind: str = "other"
    """The class of the failure, by which dead letters are grouped."""
    http_status: int | None = None
    """What Strava answered; None: it gave no answer, or the failure is our own."""


class Discard(msgspec.Struct, frozen=True):
    """A failure that cannot pass: the job is a dead letter at once, until a person decides."""

    reason: str
    effects: tuple[Effect, ...] = ()
    if_last: tuple[Effect, ...] = ()
    kind: str = "other"
    http_status: int | None = None


Outcome = Done | Continue | Snooze | Retry | Discard
