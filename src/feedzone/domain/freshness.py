"""When to recheck a fresh activity for changes that no event announces."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

RECHECKS = (timedelta(minutes=15), timedelta(hours=6), timedelta(hours=24))
"""Athletes edit descriptions, gear and photos after the upload, and no event announces it
(docs/strava-api.md#webhook-events)."""

STREAM_RETRIES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(minutes=45),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(hours=24),
)
"""The create event precedes the processing of the streams. If there are none after a day, none come."""

PHOTO_RETRIES = STREAM_RETRIES
"""Photos are placeholders until Strava has processed them, which takes about as long."""

FRESH = timedelta(hours=24)


def is_fresh(first_seen: datetime, started: datetime | None, *, new: bool, now: datetime) -> bool:
    """Return whether to expect edits and streams of an activity.

    That is so when it reached us within the last day and either was new at Strava then (`new`) or started
    within the last day. Most activities of a backfill are neither.
    """
    recent = new or (started is not None and now - started < FRESH)
    return recent and now - first_seen < FRESH


PROMPT = timedelta(hours=1)
"""For this time after an upload, a person may be waiting for the streams."""


class Recheck(NamedTuple):
    """A later recheck of a fresh activity."""

    at: datetime
    streams_only: bool
    prompt: bool
    """Whether a person may be waiting for the result."""


def next_recheck(first_seen: datetime, now: datetime, *, streams_pending: bool) -> Recheck | None:
    """Return the next recheck of a fresh activity; None once a day has passed."""
    steps = {*RECHECKS, *(STREAM_RETRIES if streams_pending else ())}
    ahead = min((step for step in steps if first_seen + step > now), default=None)
    if ahead is None:
        return None
    return Recheck(first_seen + ahead, ahead not in RECHECKS, streams_pending and ahead <= PROMPT)


def next_photo_recheck(first_asked: datetime, now: datetime) -> datetime | None:
    """Return when to ask again for photos that are not all processed; None once a day has passed."""
    return min((first_asked + step for step in PHOTO_RETRIES if first_asked + step > now), default=None)
