"""The page of one activity: the activity, all that happened to it, and its curves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from .. import offload
from ..domain.activity_details import ActivityDetails
from ..domain.curves import Curves, downsample
from ..domain.effect import StreamState
from ..store import activities, removals, streams
from ..store.engine.database import Connection, Database, Row
from ..store.reads import activity_history as reads
from ..store.stream_codec import BYTES_A_VALUE, decode
from ..strava import details
from .activities import Activity, Change, activity_from, change_from
from .athletes import full_name
from .events import Event, event_from
from .jobs import Attempt, Job, attempt_from, job_from
from .rows import from_row

MAX_CURVES = 16
"""To unpack long streams takes a tenth of a second, and an open page asks again and again."""


class StreamInfo(Struct, frozen=True):
    """The state of an activity's streams, without the samples."""

    state: StreamState
    channels: tuple[str, ...]
    samples: int
    fetched_at: datetime

    @property
    def are_here(self) -> bool:
        """True for pending streams, too: older streams are shown until the new ones come."""
        return self.state != "absent" and self.samples > 0

    @property
    def version(self) -> str:
        """Differs after other streams were stored."""
        return f"{self.fetched_at.timestamp():.6f}-{self.samples}"


class Call(Struct, frozen=True):
    """One call to Strava for the activity."""

    sent_at: datetime
    lane: str
    endpoint: str
    status: int | None
    ms: int


class ActivityHistory(Struct, frozen=True, kw_only=True):
    """An activity, and all that happened to it; every list is newest first."""

    id: int
    athlete_id: int
    athlete: str
    athlete_status: str | None
    operator_may_see: bool
    """Whether the athlete agreed that the operator sees the activity."""
    activity: Activity | None
    """Null: known from events or jobs alone, and not fetched yet."""
    detailed: bool
    deleted_at: datetime | None
    parts: ActivityDetails
    streams: StreamInfo | None
    gear_names: dict[str, str]
    events: list[Event]
    calls: list[Call]
    changes: list[Change]
    jobs: list[Job]
    attempts: list[Attempt]
    cut: bool
    """Whether a list was longer than `activity_history.MOST`."""

    @property
    def is_deleted(self) -> bool:
        return self.activity is not None and self.activity.sync_status == "deleted"

    @property
    def gear(self) -> str | None:
        if self.activity is None or self.activity.gear_id is None:
            return None
        return self.gear_names.get(self.activity.gear_id) or self.parts.gear_name


class ActivityHistoryQueries:
    """Curves are cached for the streams that they were drawn from; newer streams are drawn again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._curves: OrderedDict[int, tuple[str, Curves]] = OrderedDict()

    async def get(self, activity_id: int) -> ActivityHistory | None:
        """Return an activity's history; None for an unknown activity."""
        return await self._database.read(lambda c: history_of(c, activity_id))

    async def curves(self, activity_id: int) -> Curves | None:
        """Return the curves of the stored streams; None if there are none. Raises MalformedStreams."""
        info = stream_info(await self._database.read(lambda c: reads.streams_of(c, activity_id)))
        if info is None or not info.are_here:
            self._curves.pop(activity_id, None)
            return None
        cached = self._curves.get(activity_id)
        if cached is not None and cached[0] == info.version:
            self._curves.move_to_end(activity_id)
            return cached[1]
        row = await self._database.read(lambda c: streams.get(c, activity_id))
        if row is None or row.blob is None:
            return None
        size = row.samples * (row.channels.count(",") + 1) * BYTES_A_VALUE
        drawn = await offload.compute(_draw, row.blob, size=size)
        latest = stream_info(row)
        self._curves[activity_id] = (latest.version if latest else "", drawn)
        while len(self._curves) > MAX_CURVES:
            self._curves.popitem(last=False)
        return drawn


def history_of(connection: Connection, activity_id: int) -> ActivityHistory | None:
    """Return None for an unknown activity. An activity may be known from events and jobs alone."""
    row = activities.get(connection, activity_id)
    events = reads.events_of(connection, activity_id)
    jobs = reads.jobs_of(connection, activity_id)
    owner = _owner(row, jobs, events)
    if owner is None or removals.is_open(connection, owner):
        return None
    athlete = reads.athlete_of(connection, owner)
    calls, changes = reads.calls_of(connection, activity_id), reads.changes_of(connection, activity_id)
    jobs = [job for job in jobs if job.athlete_id == owner]
    attempts = reads.attempts_of(connection, [job.id for job in jobs])
    detail = None if row is None else row.detail
    return ActivityHistory(
        id=activity_id,
        athlete_id=owner,
        athlete=f"athlete {owner}" if athlete is None else full_name(athlete),
        athlete_status=None if athlete is None else athlete.status,
        operator_may_see=athlete is not None and athlete.operator_may_see,
        activity=None if row is None else activity_from(row),
        detailed=detail is not None,
        deleted_at=None if row is None else row.deleted_at,
        parts=ActivityDetails() if detail is None else details.parts(detail),
        streams=stream_info(reads.streams_of(connection, activity_id)),
        gear_names=reads.gear_names(connection, owner),
        # A forged event may name another athlete: it is no part of this activity's history.
        events=[event_from(event) for event in events if event.owner_id == owner],
        calls=[from_row(call, Call) for call in calls],
        changes=[change_from(change) for change in changes],
        jobs=[job_from(job) for job in jobs],
        attempts=[attempt_from(attempt) for attempt in attempts],
        cut=reads.MOST in map(len, (events, calls, changes, attempts)),
    )


def _owner(row: Row[Any] | None, jobs: Sequence[Row[Any]], events: Sequence[Row[Any]]) -> int | None:
    """Return the owner by Strava's own answer, else by the newest job or event."""
    if row is not None:
        return int(row.athlete_id)
    if jobs:
        return int(jobs[-1].athlete_id)
    return int(events[0].owner_id) if events else None


def stream_info(row: Row[Any] | None) -> StreamInfo | None:
    if row is None:
        return None
    channels = tuple(name for name in row.channels.split(",") if name)
    return StreamInfo(row.state, channels, row.samples, row.fetched_at)


def _draw(blob: bytes) -> Curves:
    return downsample(decode(blob))
