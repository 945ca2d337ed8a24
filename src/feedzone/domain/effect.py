"""What a handler wants written, as plain values.

Handlers decide and never write. The store applies an outcome's effects in the transaction that
completes the job, so that a job's effect and its completion commit together or not at all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from .activity import ActivityRecord
from .gear import GearListing
from .job import JobSpec, Lane

StreamState = Literal["pending", "present", "absent"]
PhotoState = Literal["pending", "present", "absent"]


class StoreDetail(msgspec.Struct, frozen=True):
    """The activity as Strava has it now."""

    record: ActivityRecord
    cause: str
    received_at: datetime | None
    """When the event that led here was received; None when no event did."""
    complete: bool
    """False while the streams are still to come: the row says `syncing`."""
    event_time: int = 0
    """When that event says it happened, epoch seconds."""


class StoreStreams(msgspec.Struct, frozen=True):
    """The streams of an activity, or why there are none."""

    activity_id: int
    athlete_id: int
    state: StreamState
    blob: bytes | None = None
    channels: tuple[str, ...] = ()
    samples: int = 0


class AskForPhotos(msgspec.Struct, frozen=True):
    """The activity has so many photos: they are fetched by a job of their own, if we do not hold them."""

    activity_id: int
    athlete_id: int
    count: int
    lane: Lane


class StorePhotos(msgspec.Struct, frozen=True):
    """The photos of an activity, or whether they are still to come."""

    activity_id: int
    athlete_id: int
    state: PhotoState
    photos: str | None = None
    """A JSON list, each entry as received; None: what is stored stays."""


class Tombstone(msgspec.Struct, frozen=True):
    """The activity is gone at Strava: keep its id, and no data of it."""

    activity_id: int
    athlete_id: int
    cause: str


class NoteFailure(msgspec.Struct, frozen=True):
    """An attempt at the activity failed; `final` when it was the last one."""

    activity_id: int
    athlete_id: int
    error: str
    final: bool = False


class StorePage(msgspec.Struct, frozen=True):
    """One page of an activity list: rows appear from the summaries, with one job each."""

    athlete_id: int
    records: tuple[ActivityRecord, ...]
    jobs: tuple[JobSpec, ...]
    again: bool = False
    """It was stored before: only what is new in it counts."""


class StoreAnnounced(msgspec.Struct, frozen=True):
    """The newest page of the list, for activities whose events wait: their rows appear at once."""

    athlete_id: int
    records: tuple[ActivityRecord, ...]
    jobs: tuple[JobSpec, ...]
    """One for each record; enqueued where the activity is new and no job of it waits."""


class KeepSummary(msgspec.Struct, frozen=True):
    """The activity's sport is not among the wanted ones: its summary is all that we keep."""

    activity_id: int
    athlete_id: int


class StoreReconciliation(msgspec.Struct, frozen=True):
    """What a reconciliation saw: `jobs` has one for each record, and only differences are enqueued.

    `missing` are activities that we hold and a full list does not have: each is confirmed by a fetch.
    """

    athlete_id: int
    full: bool
    records: tuple[ActivityRecord, ...]
    jobs: tuple[JobSpec, ...]
    missing: tuple[JobSpec, ...] = ()
    calls: int = 0
    latest: bool = True
    """It saw the latest activities; else a part of the history, of which no event need have told."""
    last: bool = True
    """With it, all of the comparison's window was seen."""


class OpenConflict(msgspec.Struct, frozen=True):
    """A reconciliation that would delete too much has stopped, and asks (pain 52)."""

    athlete_id: int
    missing: tuple[int, ...]
    held: int


class FinishListing(msgspec.Struct, frozen=True):
    """The list of a first sync has reached its end."""

    athlete_id: int


class StoreGear(msgspec.Struct, frozen=True):
    """The gear that the athlete's profile lists now; what it lists no more was deleted at Strava."""

    gear: GearListing


class MarkAthlete(msgspec.Struct, frozen=True):
    """The athlete's connection is in this state, for this reason."""

    athlete_id: int
    status: Literal["active", "needs_reauth", "needs_scope"]
    reason: str


class RecordRejectedClaim(msgspec.Struct, frozen=True):
    """An event claimed what Strava denies. Nothing was changed; it is counted and visible."""

    cause: str
    claim: Literal["delete", "deauthorization"]


class PurgeAthlete(msgspec.Struct, frozen=True):
    """The athlete has left: nothing of theirs stays but a receipt."""

    athlete_id: int
    reason: Literal["deauthorized", "disconnected"]
    cause: str
    confirmed_by: str


class ConfirmRevoke(msgspec.Struct, frozen=True):
    """Nothing more will be done to revoke the access; `detail` says what came of it. `revoked`: Strava has
    confirmed it, or there was nothing to revoke."""

    athlete_id: int
    detail: str
    revoked: bool = True


Effect = (
    StoreDetail
    | StoreStreams
    | AskForPhotos
    | StorePhotos
    | Tombstone
    | NoteFailure
    | StorePage
    | StoreAnnounced
    | KeepSummary
    | StoreReconciliation
    | OpenConflict
    | FinishListing
    | StoreGear
    | MarkAthlete
    | RecordRejectedClaim
    | PurgeAthlete
    | ConfirmRevoke
)
