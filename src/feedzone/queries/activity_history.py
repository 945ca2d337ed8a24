"""Read models of one activity: its file, with its whole story, and its curves."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..domain.activity_details import ActivityDetails
from ..domain.curves import Curves, downsample
from ..store import activities, streams
from ..store.engine.database import Connection, Database, Row
from ..store.reads import activity_history
from ..store.stream_codec import decode
from ..strava import details
from . import activities as belongings
from .insights import activity_view, event_view, job_view
from .schemas.activity_history import ActivityFile, Call, StreamsHeld
from .schemas.core import Attempt

CURVES_KEPT = 16
"""To unpack long streams takes a tenth of a second, and a page that is open asks again and again."""


def file_of(connection: Connection, activity_id: int) -> ActivityFile | None:
    """None for an activity that nothing is known of. One may be known from events and jobs alone."""
    row = activities.get(connection, activity_id)
    events = activity_history.events_of(connection, activity_id)
    jobs = activity_history.jobs_of(connection, activity_id)
    owner = _owner(row, jobs, events)
    if owner is None:
        return None
    athlete = activity_history.athlete_of(connection, owner)
    calls, changes = (
        activity_history.calls_of(connection, activity_id),
        activity_history.changes_of(connection, activity_id),
    )
    mine = [job for job in jobs if job.athlete_id == owner]
    attempts = activity_history.attempts_of(connection, [job.id for job in mine])
    detail = None if row is None else row.detail
    return ActivityFile(
        id=activity_id,
        athlete_id=owner,
        athlete=_name(athlete, owner),
        athlete_status=None if athlete is None else athlete.status,
        operator_may_see=athlete is not None and athlete.operator_may_see,
        activity=None if row is None else activity_view(row),
        detailed=detail is not None,
        deleted_at=None if row is None else row.deleted_at,
        parts=ActivityDetails() if detail is None else details.parts(detail),
        streams=_held(activity_history.streams_of(connection, activity_id)),
        gear_names=activity_history.gear_names(connection, owner),
        # Whoever forges an event names another athlete: that is no part of this one's story.
        events=[event_view(event) for event in events if event.owner_id == owner],
        calls=[Call(one.sent_at, one.lane, one.endpoint, one.status, one.ms) for one in calls],
        changes=[belongings.change(change) for change in changes],
        jobs=[job_view(job) for job in mine],
        attempts=[Attempt(one.attempt, one.ended_at, one.error_class, one.error) for one in attempts],
        cut=activity_history.MOST in map(len, (events, calls, changes, attempts)),
    )


def _owner(row: Row[Any] | None, jobs: Sequence[Row[Any]], events: Sequence[Row[Any]]) -> int | None:
    """Whose it is: what Strava showed, else whom the newest job or event names."""
    if row is not None:
        return int(row.athlete_id)
    if jobs:
        return int(jobs[-1].athlete_id)
    return int(events[0].owner_id) if events else None


def _name(athlete: Row[Any] | None, athlete_id: int) -> str:
    if athlete is None:
        return f"athlete {athlete_id}"
    full = " ".join(part for part in (athlete.firstname, athlete.lastname) if part)
    return full or athlete.username or f"athlete {athlete_id}"


def _held(row: Row[Any] | None) -> StreamsHeld | None:
    if row is None:
        return None
    channels = tuple(name for name in row.channels.split(",") if name)
    return StreamsHeld(row.state, channels, row.samples, row.fetched_at)


class CurveShelf:
    """Curves that were drawn lately; those of other streams than are stored now are drawn anew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._drawn: OrderedDict[int, tuple[str, Curves]] = OrderedDict()

    async def curves(self, activity_id: int) -> Curves | None:
        """None: there are no streams here. Raises MalformedStreams."""
        held = _held(await self._database.read(lambda c: activity_history.streams_of(c, activity_id)))
        if held is None or not held.are_here:
            self._drawn.pop(activity_id, None)
            return None
        kept = self._drawn.get(activity_id)
        if kept is not None and kept[0] == held.version:
            self._drawn.move_to_end(activity_id)
            return kept[1]
        row = await self._database.read(lambda c: streams.get(c, activity_id))
        if row is None or row.blob is None:
            return None
        drawn = await asyncio.to_thread(_draw, row.blob)
        found = _held(row)
        self._drawn[activity_id] = (found.version if found else "", drawn)
        while len(self._drawn) > CURVES_KEPT:
            self._drawn.popitem(last=False)
        return drawn


def _draw(blob: bytes) -> Curves:
    return downsample(decode(blob))
