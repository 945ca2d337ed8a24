"""When a fresh activity is looked at again: what Strava tells no event of (pains 18 to 20)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

RECHECKS = (timedelta(minutes=15), timedelta(hours=6), timedelta(hours=24))
"""Descriptions, gear and photos are edited after the upload, and no event says so."""

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
"""The create event precedes the processing of the streams; after a day there are none."""

PHOTO_RETRIES = STREAM_RETRIES
"""Photos are placeholders until they are processed, which is as slow (pain 22)."""

FRESH = timedelta(hours=24)


def is_fresh(first_seen: datetime, started: datetime | None, *, new: bool, now: datetime) -> bool:
    """Whether edits and streams are still to be expected: it came to us within a day, and was new at Strava
    then (`new`) or begun within a day. Of a history, most is neither."""
    recent = new or (started is not None and now - started < FRESH)
    return recent and now - first_seen < FRESH


PROMPT = timedelta(hours=1)
"""For so long somebody waits for the streams of an activity that has just come."""


class Recheck(NamedTuple):
    """A later look at a fresh activity: when, whether at its streams alone, and whether somebody waits."""

    at: datetime
    streams_only: bool
    prompt: bool


def next_recheck(first_seen: datetime, now: datetime, *, streams_pending: bool) -> Recheck | None:
    """The next look at a fresh activity; None when it has been looked at for a day."""
    steps = {*RECHECKS, *(STREAM_RETRIES if streams_pending else ())}
    ahead = min((step for step in steps if first_seen + step > now), default=None)
    if ahead is None:
        return None
    return Recheck(first_seen + ahead, ahead not in RECHECKS, streams_pending and ahead <= PROMPT)


def next_photo_recheck(first_asked: datetime, now: datetime) -> datetime | None:
    """When photos that are not all there are asked for again; None when a day has passed."""
    return min((first_asked + step for step in PHOTO_RETRIES if first_asked + step > now), default=None)
