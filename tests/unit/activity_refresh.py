"""Runs of the handler that refreshes an activity, and the rows and answers that its tests share."""

from __future__ import annotations

import random
from datetime import timedelta

from fakes import ACTIVITY, ATHLETE, NOON, FakeApi, FakeRecords, encode, job, unanswered

from feedzone.domain.activity import ActivityRecord, StoredActivity
from feedzone.domain.effect import (
    StoreStreams,
)
from feedzone.domain.job import RefreshHint
from feedzone.domain.outcome import Done
from feedzone.errors import (
    NotVisible,
    TransientError,
)
from feedzone.handlers.refresh_activity import RefreshActivity

STREAMS = b'{"time":{"data":[0,1,2]},"heartrate":{"data":[90,91,92]}}'
PRESENT = StoreStreams(ACTIVITY, ATHLETE, "present", STREAMS, ("time", "heartrate"), 3)
GONE = NotVisible(404, call="GET activities/7")
DELETE = RefreshHint("delete", cause="event:e1")
WITHOUT_STREAMS = StoredActivity(ACTIVITY, ATHLETE, "syncing", first_seen=NOON, announced=True)
CROPPED = StoredActivity(
    ACTIVITY, ATHLETE, "synced", stream_state="present", fingerprint="before", streams_fingerprint="before"
)
TOMBSTONED = StoredActivity(ACTIVITY, ATHLETE, "deleted", first_seen=NOON - timedelta(days=9))
TRANSIENT = [TransientError(500, "error"), unanswered()]


def record(athlete: int = ATHLETE, *, manual: bool = False, days_ago: float = 0) -> ActivityRecord:
    columns = {"manual": manual, "start_date": NOON - timedelta(days=days_ago), "name": "Ride"}
    return ActivityRecord(ACTIVITY, athlete, "detail", columns, "{}")


STORED = StoredActivity(
    ACTIVITY,
    ATHLETE,
    "synced",
    stream_state="present",
    first_seen=NOON,
    announced=True,
    fingerprint=record().fingerprint,
    streams_fingerprint=record().fingerprint,
)


async def run(api: FakeApi, clock, hint: RefreshHint | None = None, stored=None, encoding=encode, **changes):
    handler = RefreshActivity(api, FakeRecords(stored), clock, random.Random(1), encoding)
    return await handler(job("refresh_activity", hint, **changes))


def written(outcome) -> tuple:
    """Return the effects of a job that ended without a note. Follow-up jobs: test_freshness.py."""
    assert isinstance(outcome, Done)
    assert outcome.note is None
    return outcome.effects
