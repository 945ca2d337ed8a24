"""Jobs: their lanes, their hints, and the requests to enqueue them."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

import msgspec

from .job_kinds import KINDS, JobKind, job_key

Action = Literal["refresh", "delete"]


class Lane(IntEnum):
    """The order of work: the lower number goes first. Stored as `jobs.priority`."""

    LIVE = 0
    INTERACTIVE = 10
    RECONCILE = 20
    RECHECK = 30
    BACKFILL = 40


class RefreshHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="activity"):
    """The newest news of an activity. The worker asks Strava for the truth."""

    action: Action = "refresh"
    verified: bool = False
    """Whether the signature of the event behind the hint was verified."""
    cause: str = ""
    """`event:<id>`, `backfill`, `reconciliation`, `recheck` or `request`; stands in the audit trail."""
    detail_version: int | None = None
    """The version of the job whose detail is stored already, while its streams are not available yet."""
    streams_only: bool = False
    """Ask for the streams alone: the stored detail is fresh enough."""
    manual: bool = False
    """The list says that the activity was entered by hand: there are no streams to ask for."""
    missing_since: int | None = None
    """When Strava first answered 404 about the stored activity, epoch seconds."""
    fruitless: int = 0
    """Calls for an unproven event that found nothing so far."""
    looks_left: int | None = None
    """Calls left for an announced activity that the athlete's list does not show. None: as usual."""

    @property
    def announced(self) -> bool:
        """Whether an event is behind the hint."""
        return self.cause.startswith("event:")

    @property
    def unproven(self) -> bool:
        """Whether nothing but an unsigned event is behind the hint: anybody may have sent it."""
        return self.announced and not self.verified

    @property
    def of_something_new(self) -> bool:
        """Whether the activity may be new at Strava: from an event, a reconciliation or a recheck."""
        return self.announced or self.cause in ("reconciliation", "recheck")


class RevokeHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="revoke"):
    """An athlete leaves. `confirm`: ask Strava whether the event is true; `revoke`: end our access there."""

    action: Literal["confirm", "revoke"]
    verified: bool = False
    cause: str = ""
    sealed_token: str | None = None
    """The refresh token, encrypted. It stays until Strava has confirmed the revocation."""


class BackfillHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="backfill"):
    """A backfill: a window of start times, in epoch seconds, and how far its list has been read.

    Both ends are fixed when the backfill begins. `before` is always sent, which makes Strava list the newest
    first (docs/strava-api.md#resources). Nothing relies on that order: only an empty page is the end.
    """

    before: int
    after: int | None = None
    """None: everything up to `before`."""
    page: int = 1
    found: int = 0
    listed_at: int | None = None
    """When the previous page was listed, epoch seconds. None: it need not be listed again."""


class ReconcileHint(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="do", tag="reconcile"):
    """A reconciliation: compare a window of start times with Strava.

    `full` lists the whole window and finds deletions, too; otherwise one call reads the latest page only.
    With `to_end` the list ends at an empty page. Without it, a short page that shows exactly the activities
    that we hold ends the list, too.
    """

    days: int
    full: bool = True
    to_end: bool = True
    since: int | None = None
    """Continue with earlier activities down to this instant, epoch seconds, newest first. 0: all of them."""
    before: int | None = None
    """Activities that began before this instant remain to be compared, epoch seconds. None: all of them."""
    missing: int = 0
    """How many stored activities the earlier runs did not find at Strava."""
    everything: bool = False
    """Doubt all that is stored: fetch again what once differed for good, and later all streams."""


class PlainHint(msgspec.Struct, frozen=True, tag_field="do", tag="plain"):
    """The job's kind and key say all there is to say."""


Hint = RefreshHint | RevokeHint | BackfillHint | ReconcileHint | PlainHint


CALLS_AN_ACTIVITY = KINDS["refresh_activity"].calls
"""The detail and the streams."""

CALLS_A_SLICE = 5
"""One run of a reconciliation beyond the usual days: three full pages, a short and an empty one."""


def calls_of(kind: JobKind, hint: Hint) -> int:
    """Return how many calls a job is going to make, as far as its hint tells: at least one.

    A list takes as many calls as it has pages. Only its end tells how many there are.
    """
    match hint:
        case RefreshHint(streams_only=True) | RefreshHint(manual=True):
            return 1
        case RefreshHint(detail_version=int()):
            return 1
        case BackfillHint(page=1):
            return 2  # at least one page, and the empty one that ends the list
        case ReconcileHint(since=int()):
            return CALLS_A_SLICE
        case ReconcileHint(full=True, to_end=True):
            return 2
        case _:
            return KINDS[kind].calls


class JobSpec(msgspec.Struct, frozen=True):
    """A job to be enqueued. One is live per kind, key and athlete: another spec raises its version."""

    kind: JobKind
    key: str
    athlete_id: int
    hint: Hint
    hint_time: int
    """Time of the event behind the hint, epoch seconds; 0: no event. The newest hint stays."""
    lane: Lane
    rank: int = 0
    """Order among the athlete's jobs that are enqueued together, ascending."""
    due_at: datetime | None = None
    """None: now."""
    first: bool = False
    """Whether it goes before all other jobs of the lane."""
    debounce_until: datetime | None = None
    """Further updates delay `due_at` up to this instant. None: they do not delay it."""


def job_now(kind: JobKind, key: str, athlete_id: int, hint: Hint, lane: Lane) -> JobSpec:
    """Return a job without an event, due as soon as its lane allows."""
    return JobSpec(kind, key, athlete_id, hint, 0, lane)


def backfill_job(
    athlete_id: int, activity_id: int, started: datetime | None, *, manual: bool = False
) -> JobSpec:
    """Return the job that fetches an activity of the past; the newest go first."""
    rank = -int(started.timestamp()) if started else 0
    hint = RefreshHint(cause="backfill", manual=manual)
    return JobSpec("refresh_activity", activity_key(activity_id), athlete_id, hint, 0, Lane.BACKFILL, rank)


def revoke_job(athlete_id: int, sealed_token: str | None, due_at: datetime | None = None) -> JobSpec:
    """Return the job that revokes this token pair at Strava; the token is encrypted."""
    hint = RevokeHint(action="revoke", cause="request", sealed_token=sealed_token)
    key = athlete_key(athlete_id)
    return JobSpec("revoke_athlete", key, athlete_id, hint, 0, Lane.INTERACTIVE, due_at=due_at)


class Job(msgspec.Struct, frozen=True):
    """A leased job. `version` is the version that this run brings up to date."""

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
"""The job that runs in this context, so that the call log can name it."""


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
