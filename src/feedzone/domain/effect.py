"""The changes that a handler asks the store to make, as plain values.

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
    """When the event that caused this fetch was received; None when no event did."""
    complete: bool
    """False while the streams are still missing: the row says `syncing`."""
    event_time: int = 0
    """The `event_time` of that event, epoch seconds."""
    unproven: bool = False
    """Whether only an unproven event caused the fetch: an unchanged detail means a fruitless call."""


class StoreStreams(msgspec.Struct, frozen=True):
    """The streams of an activity, or why there are none."""

    activity_id: int
    athlete_id: int
    state: StreamState
    blob: bytes | None = None
    channels: tuple[str, ...] = ()
    samples: int = 0
    streamless_since: datetime | None = None
    """Without streams: when Strava was first asked for those of the activity as it is now."""


class AskForPhotos(msgspec.Struct, frozen=True):
    """The activity has `count` photos: a job of their own fetches those that are not stored yet."""

    activity_id: int
    athlete_id: int
    count: int
    lane: Lane


class StorePhotos(msgspec.Struct, frozen=True):
    """The photos of an activity, or the state of waiting for them."""

    activity_id: int
    athlete_id: int
    state: PhotoState
    photos: str | None = None
    """A JSON list, each entry as received; None leaves the stored photos as they are."""


class Tombstone(msgspec.Struct, frozen=True):
    """The activity is gone at Strava: keep its id and delete its data."""

    activity_id: int
    athlete_id: int
    cause: str
    event_time: int = 0
    """The `event_time` of the delete event, epoch seconds; 0: no event says so."""


class NoteFailure(msgspec.Struct, frozen=True):
    """An attempt to fetch the activity failed; `final` when it was the last one."""

    activity_id: int
    athlete_id: int
    error: str
    final: bool = False


class StorePage(msgspec.Struct, frozen=True):
    """One page of an activity list: each summary becomes a row, with a job to fetch the rest."""

    athlete_id: int
    records: tuple[ActivityRecord, ...]
    jobs: tuple[JobSpec, ...]
    again: bool = False
    """The page was stored before, so only the activities that are new in it count."""


class StoreAnnounced(msgspec.Struct, frozen=True):
    """The newest page of the list: activities whose events are queued get their rows at once."""

    athlete_id: int
    records: tuple[ActivityRecord, ...]
    jobs: tuple[JobSpec, ...]
    """One for each record; enqueued where the activity is new and has no job in the queue."""


class KeepSummary(msgspec.Struct, frozen=True):
    """The athlete's sport filter excludes the activity: store its summary and nothing more."""

    activity_id: int
    athlete_id: int


class StoreReconciliation(msgspec.Struct, frozen=True):
    """The result of a reconciliation: `jobs` has one for each record, and only differences are enqueued.

    `missing` are activities that we store and a full list lacks: a fetch confirms each deletion.
    """

    athlete_id: int
    full: bool
    records: tuple[ActivityRecord, ...]
    jobs: tuple[JobSpec, ...]
    missing: tuple[JobSpec, ...] = ()
    calls: int = 0
    latest: bool = True
    """Whether it covers the latest activities. Older activities may differ without any event
    having been lost: feedzone may not have been connected then."""
    last: bool = True
    """Whether this part completes the window of the reconciliation."""
    everything: bool = False
    """Whether the reconciliation covers all stored activities, and so doubts their streams, too."""
    looks: tuple[JobSpec, ...] = ()
    """Fetches of stored activities that no list covers."""


class OpenConflict(msgspec.Struct, frozen=True):
    """A reconciliation would delete a large share of the activities: a person must decide.

    A faulty list must not empty the database.
    """

    athlete_id: int
    missing: tuple[int, ...]
    stored: int
    """How many live activities of the athlete are stored."""


class FinishListing(msgspec.Struct, frozen=True):
    """The list of a backfill has reached its end."""

    athlete_id: int


class StoreGear(msgspec.Struct, frozen=True):
    """The gear in the athlete's profile now; gear that it no longer lists was deleted at Strava."""

    gear: GearListing


class MarkAthlete(msgspec.Struct, frozen=True):
    """The state of the athlete's connection, and the reason for it."""

    athlete_id: int
    status: Literal["active", "needs_reauth", "needs_scope"]
    reason: str


class RecordRejectedClaim(msgspec.Struct, frozen=True):
    """An event claimed something that Strava denies: count it, make it visible, change nothing else."""

    cause: str
    claim: Literal["delete", "deauthorization"]


class CountFruitless(msgspec.Struct, frozen=True):
    """Calls for an unproven event found nothing. Negative: earlier ones were not fruitless after all."""

    athlete_id: int
    calls: int = 1


class AskForList(msgspec.Struct, frozen=True):
    """One list call shows which announced activities exist, when unproven events may cost a call again."""

    athlete_id: int
    at: datetime


class BeginLeaving(msgspec.Struct, frozen=True):
    """An athlete with doubtful access may have left: delete the data on `until` unless they connect again."""

    athlete_id: int
    cause: str
    """`event:<id>`: an unproven deauthorization; `refused`: the tokens have not worked for long."""
    until: datetime
    consent: datetime
    """When the consent was given that may have ended: a newer one survives."""


class PurgeAthlete(msgspec.Struct, frozen=True):
    """The athlete has disconnected: delete all their data and keep only a receipt."""

    athlete_id: int
    reason: Literal["deauthorized", "disconnected", "expired"]
    cause: str
    confirmed_by: str
    consent: datetime | None = None
    """When the consent was given that has ended: a newer one survives. None: any consent ends."""


class ConfirmRevoke(msgspec.Struct, frozen=True):
    """The attempts to revoke the access have ended; `detail` describes the result.

    `revoked` is True when Strava has confirmed it, or when there was nothing to revoke.
    """

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
    | CountFruitless
    | AskForList
    | BeginLeaving
    | PurgeAthlete
    | ConfirmRevoke
)
