"""Jobs: what waits to be done, in which lane, and what was last heard about it."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

import msgspec

from .job_kinds import KINDS, JobKind, job_key

Action = Literal["refresh", "delete"]


class Lane(IntEnum):
    """Who goes first: the lower number. Stored as `jobs.priority`."""

    LIVE = 0
    INTERACTIVE = 10
    RECONCILE = 20
    RECHECK = 30
    BACKFILL = 40


class RefreshHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="activity"):
    """What was last heard of an activity. The worker asks Strava what is true."""

    action: Action = "refresh"
    verified: bool = False
    """Whether the signature of the event that said so was verified."""
    cause: str = ""
    """`event:<id>`, `backfill`, or `request`: stands in the audit trail."""
    detail_version: int | None = None
    """The version of the job whose detail is stored, while its streams could not be had yet."""
    streams_only: bool = False
    """Ask for the streams alone: the detail is known, and not due to be read again."""
    manual: bool = False
    """The list says that the activity was entered by hand: there are no streams to ask for."""

    @property
    def announced(self) -> bool:
        """Whether an event told of it."""
        return self.cause.startswith("event:")

    @property
    def of_something_new(self) -> bool:
        """Whether it may be new at Strava: told by an event, found by a comparison, or fresh lately."""
        return self.announced or self.cause in ("reconciliation", "recheck")


class RevokeHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="revoke"):
    """An athlete leaves. `confirm`: an event says so, ask Strava; `revoke`: tell Strava that we let go."""

    action: Literal["confirm", "revoke"]
    verified: bool = False
    cause: str = ""
    sealed_token: str | None = None
    """The refresh token, encrypted: kept until Strava has confirmed the revocation (pain 28)."""


class BackfillHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="backfill"):
    """A first sync or a longer history: a window of start times, in epoch seconds, and how far it got.

    Both ends are fixed when it begins, and `before` is always sent, which makes Strava list newest
    first (contract section 6). Nothing relies on that order: only an empty page is the end.
    """

    before: int
    after: int | None = None
    """None: all of the athlete's history."""
    page: int = 1
    found: int = 0
    listed_at: int | None = None
    """When the page before was listed, epoch seconds; None: it need not be looked at again."""


class ReconcileHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="reconcile"):
    """Compare a window of start times with Strava. `full` lists all of it and finds deletions, too;
    otherwise one call looks at the latest page only. Only an empty page is the list's end; unless it must go
    `to_end`, a short page that shows all that we hold and nothing else is taken for all there is."""

    days: int
    full: bool = True
    to_end: bool = True
    since: int | None = None
    """Goes on to what began earlier, down to this instant, epoch seconds (0: all there is), newest first."""
    before: int | None = None
    """So far it has gone: what began earlier is still to be compared, epoch seconds. None: nothing is yet."""
    missing: int = 0
    """How many activities its runs before this one have missed."""


class PlainHint(msgspec.Struct, frozen=True, tag_field="do", tag="plain"):
    """The job's kind and key say all there is to say."""


Hint = RefreshHint | RevokeHint | BackfillHint | ReconcileHint | PlainHint


CALLS_AN_ACTIVITY = KINDS["refresh_activity"].calls
"""The detail and the streams."""

CALLS_A_SLICE = 5
"""Of a comparison of more than the usual days: three full pages, a short and an empty one."""


def calls_of(kind: JobKind, hint: Hint) -> int:
    """Return how many calls a job is going to make, as far as its hint tells: at least one.

    A list takes as many calls as it has pages. Only its end tells how many there are.
    """
    match hint:
        case RefreshHint(streams_only=True) | RefreshHint(manual=True):
            return 1
        case RefreshHint(detail_version=int()):
            return 1
        case ReconcileHint(since=int()):
            return CALLS_A_SLICE
        case ReconcileHint(full=True, to_end=True):
            return 2
        case _:
            return KINDS[kind].calls


class JobSpec(msgspec.Struct, frozen=True):
    """A job to be enqueued. One live job per (kind, key): enqueuing it again raises its version."""

    kind: JobKind
    key: str
    athlete_id: int
    hint: Hint
    hint_time: int
    """Epoch seconds of the event behind the hint; 0 when no event said it. The newest hint stays."""
    lane: Lane
    rank: int = 0
    """Order among the athlete's jobs that are enqueued together, ascending."""
    due_at: datetime | None = None
    """None: at once."""
    first: bool = False
    """Before all others of the lane."""
    debounce_until: datetime | None = None
    """More of the same kind put off `due_at`, but not beyond this. None: they do not."""


def job_now(kind: JobKind, key: str, athlete_id: int, hint: Hint, lane: Lane) -> JobSpec:
    """A job that no event caused, to be done as soon as its lane allows."""
    return JobSpec(kind, key, athlete_id, hint, 0, lane)


def backfill_job(
    athlete_id: int, activity_id: int, started: datetime | None, *, manual: bool = False
) -> JobSpec:
    """Fetch an activity of the past: the newest first."""
    rank = -int(started.timestamp()) if started else 0
    hint = RefreshHint(cause="backfill", manual=manual)
    return JobSpec("refresh_activity", activity_key(activity_id), athlete_id, hint, 0, Lane.BACKFILL, rank)


def revoke_job(athlete_id: int, sealed_token: str | None, due_at: datetime | None = None) -> JobSpec:
    """Tell Strava that we let go of this token pair, encrypted as it is kept."""
    hint = RevokeHint(action="revoke", cause="request", sealed_token=sealed_token)
    key = athlete_key(athlete_id)
    return JobSpec("revoke_athlete", key, athlete_id, hint, 0, Lane.INTERACTIVE, due_at=due_at)


class Job(msgspec.Struct, frozen=True):
    """A leased job. `version` is the version this run brings up to date."""

    id: str
    kind: JobKind
    key: str
    athlete_id: int
    hint: Hint
    hint_time: int
    lane: Lane
    attempts: int
    version: int
    first_received_at: datetime
    lease_owner: str

    @property
    def object_id(self) -> int:
        """The Strava id in the key."""
        return int(self.key.partition(":")[2])


running_job: ContextVar[Job | None] = ContextVar("running_job", default=None)
"""The job that runs in this context: what a call is made for."""


def activity_key(activity_id: int) -> str:
    return job_key("refresh_activity", activity_id)


def athlete_key(athlete_id: int) -> str:
    return job_key("backfill_athlete", athlete_id)


def encode_hint(hint: Hint) -> str:
    return msgspec.json.encode(hint).decode()


_hint_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Hint)


def decode_hint(text: str) -> Hint:
    hint: Hint = _hint_decoder.decode(text)
    return hint
