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
"""When to ask again for streams, counted from the first look that found none.

The create event precedes the processing of the streams, and Strava makes them again after a crop or a
correction. When the activity started says nothing about that: old ones are uploaded, too. If there are none
after a day, only comparisons ask again (`asks_again`).
"""

CERTAINLY = timedelta(hours=1)
"""The last retry has ended this long after it was due."""

AFTER_CHANGE = timedelta(minutes=15)
"""When changed streams are fetched once more: Strava may still have had the old ones."""

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


def next_recheck(
    first_seen: datetime | None, now: datetime, *, streamless_since: datetime | None
) -> Recheck | None:
    """Return the next recheck; None when there is none.

    `first_seen`: when a fresh activity was first seen; None: it is not fresh. `streamless_since`: when the
    streams were first asked for; None: they are there, or none are expected.
    """
    steps = [(first_seen + step, False) for step in RECHECKS] if first_seen else []
    steps += [(streamless_since + step, True) for step in STREAM_RETRIES] if streamless_since else []
    ahead = min((step for step in steps if step[0] > now), default=None)
    if ahead is None:
        return None
    at, streams_only = ahead
    prompt = first_seen is not None and streamless_since is not None and at <= first_seen + PROMPT
    return Recheck(at, streams_only, prompt)


def sooner(recheck: Recheck | None, other: Recheck) -> Recheck:
    """Return the earlier of two rechecks. The first one counts if they are equally early."""
    return recheck if recheck is not None and recheck.at <= other.at else other


def streams_may_come(streamless_since: datetime, now: datetime) -> bool:
    """Return whether to ask again for streams that were first asked for at that time."""
    return now < streamless_since + STREAM_RETRIES[-1]


def asks_again(streamless_since: datetime, asked: datetime, now: datetime) -> bool:
    """Return whether a comparison asks again for streams that an activity should have and lacks.

    It asks after 1, 2, 4, 8 ... days, so that an activity without any costs few calls.
    """
    return now - streamless_since >= max(2 * (asked - streamless_since), STREAM_RETRIES[-1]) + CERTAINLY


def next_photo_recheck(first_asked: datetime, now: datetime) -> datetime | None:
    """Return when to ask again for photos that are not all processed; None once a day has passed."""
    return min((first_asked + step for step in PHOTO_RETRIES if first_asked + step > now), default=None)
