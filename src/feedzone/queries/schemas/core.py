"""Plain values that read models return; the API documents them by their types. Instants are UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from ...domain.athlete import AthleteStatus
from ...domain.effect import PhotoState, StreamState
from ...domain.gear import GearKind
from ...domain.job_kinds import JobKind
from .quota import QueueOutlook, QuotaWindow, SyncOutlook

SyncStatus = Literal["pending", "syncing", "synced", "failed", "deleted"]
EventStatus = Literal["pending", "processing", "completed", "failed", "ignored"]
JobState = Literal["queued", "running", "dead"]

Metres = Annotated[float, Meta(description="m")]
MetresPerSecond = Annotated[float, Meta(description="m/s")]
Seconds = Annotated[int, Meta(description="s")]
PerMinute = Annotated[float, Meta(description="1/min")]
Watts = Annotated[float, Meta(description="W")]
Degrees = Annotated[float, Meta(description="degrees, WGS 84")]
Cursor = Annotated[str, Meta(description="fetches the next page; null: this was the last")]
AsReceived = Annotated[Raw, Meta(description="JSON as received from Strava, byte for byte")]


class Progress(Struct, frozen=True):
    """How far the first sync (or the last one that was asked for) is.

    `done`, `failed` and `pending` (with what is under way) count the activities that started since `after`.
    """

    found: Annotated[int, Meta(description="activities listed so far")]
    done: int
    failed: int
    pending: int
    listed: Annotated[bool, Meta(description="whether the list has reached its end")]
    started_at: datetime | None
    completed: bool
    completed_at: datetime | None
    after: Annotated[datetime | None, Meta(description="start of what was synced so far; null: all history")]


class Athlete(Struct, frozen=True):
    """A connected athlete, or one who left (`deauthorized`). Tokens are never part of an answer."""

    id: int
    username: str | None
    firstname: str | None
    lastname: str | None
    status: AthleteStatus
    status_reason: str | None
    scopes: list[str]
    token_expires_at: datetime | None
    webhook_subscription_active: bool
    last_event_at: datetime | None
    last_synced_at: datetime | None
    last_verified_at: Annotated[datetime | None, Meta(description="the last full comparison with Strava")]
    connected_at: datetime
    idle_since: Annotated[
        datetime, Meta(description="the last event, the latest start of an activity, or the consent")
    ]
    no_events_expected: Annotated[bool, Meta(description="granted no scope for which Strava sends events")]
    quiet: Annotated[bool, Meta(description="comparisons keep finding activities that no event told of")]
    wanted_sports: Annotated[
        list[str] | None, Meta(description="sport types that are fetched whole; null: all")
    ]
    operator_may_see: Annotated[
        bool, Meta(description="the athlete has agreed that the operator sees the activities on the pages")
    ]
    progress: Progress
    sync: SyncOutlook

    @property
    def athlete_id(self) -> int:
        """Whose this is, as of whatever belongs to an athlete."""
        return self.id

    @property
    def name(self) -> str:
        """What people call the athlete."""
        full = " ".join(part for part in (self.firstname, self.lastname) if part)
        return full or self.username or f"athlete {self.id}"


class AthletePage(Struct, frozen=True):
    """Athletes, by id."""

    items: list[Athlete]
    next_cursor: Cursor | None = None


class Gear(Struct, frozen=True, kw_only=True):
    """A bike or a pair of shoes, as the athlete's profile had it when it was last asked for."""

    id: str
    kind: GearKind
    name: str | None
    nickname: str | None
    is_primary: bool | None
    retired: bool | None
    distance: Metres | None
    removed_at: Annotated[datetime | None, Meta(description="since when the profile has it no more")]
    created_at: datetime
    updated_at: datetime
    raw: AsReceived


class GearPage(Struct, frozen=True):
    """An athlete's gear: bikes, then shoes; unused, retired and deleted ones, too."""

    items: list[Gear]
    next_cursor: Cursor | None = None


class Activity(Struct, frozen=True, kw_only=True):
    """An activity as the database has it."""

    id: int
    athlete_id: int
    name: str | None
    sport_type: str | None
    type: Annotated[str | None, Meta(description="legacy; sport_type is the finer one")]
    workout_type: int | None
    start_date: datetime | None
    start_date_local: Annotated[
        datetime | None, Meta(description="wall time where it happened, without a zone")
    ]
    start_hidden: Annotated[bool | None, Meta(description="the athlete hides the time of day")]
    timezone: Annotated[str | None, Meta(description="IANA name")]
    utc_offset: Annotated[int | None, Meta(description="s east of UTC, daylight saving included")]
    distance: Metres | None
    moving_time: Seconds | None
    elapsed_time: Seconds | None
    total_elevation_gain: Metres | None
    elev_high: Metres | None
    elev_low: Metres | None
    average_speed: MetresPerSecond | None
    max_speed: MetresPerSecond | None
    average_heartrate: PerMinute | None
    max_heartrate: PerMinute | None
    average_cadence: PerMinute | None
    average_watts: Watts | None
    max_watts: Watts | None
    weighted_average_watts: Watts | None
    device_watts: bool | None
    kilojoules: Annotated[float | None, Meta(description="kJ")]
    calories: Annotated[float | None, Meta(description="kcal; from the detail only")]
    average_temp: Annotated[float | None, Meta(description="degrees Celsius")]
    suffer_score: float | None
    perceived_exertion: float | None
    trainer: bool | None
    commute: bool | None
    manual: bool | None
    private: bool | None
    visibility: Annotated[str | None, Meta(description="everyone, followers_only, only_me: please honour it")]
    flagged: bool | None
    hide_from_home: bool | None
    gear_id: str | None
    device_name: str | None
    description: str | None
    upload_id: int | None
    external_id: str | None
    summary_polyline: Annotated[str | None, Meta(description="Google's encoded polyline")]
    start_lat: Degrees | None
    start_lng: Degrees | None
    total_photo_count: int | None
    sync_status: SyncStatus
    sync_attempts: int
    last_sync_error: str | None
    webhook_received_at: datetime | None
    last_fetched_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ActivityPage(Struct, frozen=True):
    """Activities, latest start first."""

    items: list[Activity]
    next_cursor: Cursor | None = None


class ActivityDetail(Activity, frozen=True, kw_only=True):
    """An activity with what Strava sent for it, and whether its streams and photos are here."""

    streams: Annotated[StreamState | None, Meta(description="null: not asked for yet")]
    photos: Annotated[PhotoState | None, Meta(description="null: not asked for")]
    summary: AsReceived | None
    detail: AsReceived | None


class Photos(Struct, frozen=True):
    """The photos of an activity, each as Strava lists it. Placeholders are not among them."""

    state: Annotated[PhotoState | None, Meta(description="null: not asked for")]
    items: list[Any]


class Event(Struct, frozen=True, kw_only=True):
    """A webhook event: what Strava told us, and what became of it."""

    id: str
    status: EventStatus
    attempts: int
    created_at: datetime
    processed_at: datetime | None
    error_message: str | None
    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    subscription_id: int
    event_time: Annotated[int, Meta(description="epoch s, as Strava sent it")]
    signature: Literal["verified", "mismatch", "absent"]
    job_id: str | None
    event_data: AsReceived


class EventPage(Struct, frozen=True):
    """Webhook events, newest first."""

    items: list[Event]
    next_cursor: Cursor | None = None


class Job(Struct, frozen=True, kw_only=True):
    """Work that waits, runs, or has failed for good (`dead`: a dead letter). `attempts` are failed runs."""

    id: str
    kind: JobKind
    key: str
    athlete_id: int
    state: JobState
    action: Annotated[str | None, Meta(description="refresh, delete, confirm, revoke")]
    cause: str | None
    lane: str
    due_at: datetime
    attempts: int
    version: int
    lease_owner: str | None
    lease_until: datetime | None
    last_error: str | None
    error_class: Annotated[str | None, Meta(description="by which failures are grouped")]
    http_status: int | None
    first_received_at: datetime
    updated_at: datetime


class Attempt(Struct, frozen=True):
    """One attempt that failed."""

    attempt: int
    ended_at: datetime
    error_class: str
    error: str


class Wait(Struct, frozen=True):
    """Work that has to wait: until when, and why."""

    until: datetime
    reason: str


class JobStory(Struct, frozen=True):
    """A job, and every attempt at it that failed, oldest first."""

    job: Job
    attempts: list[Attempt]


class Conflict(Struct, frozen=True):
    """What feedzone did not dare to decide: `missing` of `held` activities are no longer listed by Strava."""

    id: str
    athlete_id: int
    kind: str
    opened_at: datetime
    missing: list[int]
    held: int


class ConflictPage(Struct, frozen=True):
    """Open questions, oldest first."""

    items: list[Conflict]
    next_cursor: Cursor | None = None


class JobPage(Struct, frozen=True):
    """Jobs, oldest first."""

    items: list[Job]
    next_cursor: Cursor | None = None


class Change(Struct, frozen=True, kw_only=True):
    """One field of one activity changed."""

    id: str
    activity_id: int
    athlete_id: int
    field: str
    old_value: Raw | None
    new_value: Raw | None
    changed_at: datetime
    cause: Annotated[str, Meta(description="event:<id>, backfill, request")]


class ChangePage(Struct, frozen=True):
    """Changes, oldest first."""

    items: list[Change]
    next_cursor: Cursor | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """Proof that an athlete's data was removed. `counts`: rows by table."""

    id: str
    athlete_id: int
    reason: Literal["deauthorized", "disconnected"]
    cause: str
    confirmed_by: str
    purged_at: datetime
    counts: dict[str, int]
    revoked_at: Annotated[
        datetime | None, Meta(description="when Strava confirmed that our access is gone; null: not yet")
    ]
    revoke_detail: str | None


class Subscription(Struct, frozen=True):
    """A push subscription that we remember as ours."""

    id: int
    callback_url: str
    active: bool
    created_at: datetime


class UnknownOwner(Struct, frozen=True):
    """An athlete who is not connected here, and whose events keep coming."""

    owner_id: int
    events: int
    last_event_at: datetime


class Pulse(Struct, frozen=True, kw_only=True):
    """What tells whether all is well, and is cheap enough to be asked every second."""

    now: datetime
    athletes: Annotated[dict[str, int], Meta(description="by status")]
    jobs: Annotated[dict[str, int], Meta(description="by state")]
    dead_letters: int
    oldest_due_s: Annotated[float | None, Meta(description="s that the longest waiting job has been due")]
    subscription: Subscription | None
    last_event_at: datetime | None
    quota: list[QuotaWindow]
    polling: Annotated[bool, Meta(description="no push subscription is known: Strava is asked instead")]
    paused_since: Annotated[datetime | None, Meta(description="Strava has switched the application off")]
    failing_since: Annotated[datetime | None, Meta(description="Strava fails at one call after the other")]
    probe_at: Annotated[datetime | None, Meta(description="when one call may ask whether that has passed")]
    pause_reason: str | None
    unannounced: Annotated[int, Meta(description="activities of the last day that no event told of")]
    quiet_sweeps: Annotated[int, Meta(description="comparisons that found such activities")]
    quiet_athletes: Annotated[int, Meta(description="athletes who keep uploading without any event")]
    open_conflicts: int
    seats_used: Annotated[int, Meta(description="athletes that Strava counts as connected")]
    seats: Annotated[int | None, Meta(description="how many it allows; null: not known")]


class Status(Pulse, frozen=True, kw_only=True):
    """Everything at a glance."""

    events: Annotated[dict[str, int], Meta(description="by status")]
    queue_lag_s: Annotated[
        float | None, Meta(description="s since the oldest event came whose object is not up to date")
    ]
    queue: QueueOutlook
    unknown_owners: list[UnknownOwner]
    forged_suspects: Annotated[int, Meta(description="claims of events that Strava denied")]


class Totals(Struct, frozen=True):
    """What is stored: activities that are not deleted, and how many of them have streams."""

    activities: int
    streams: int


Streams = dict[str, Any]
"""Streams in the shape of Strava's `key_by_type=true` answer (contract section 7)."""
