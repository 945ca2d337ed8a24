"""What was true all along, not only in the end: later looks heal much that should never have happened."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator

import msgspec

from .evidence import Evidence

DAY_S = 86_400.0
WAITS = re.compile(r"\b429\b|Inactive|quota|rate limit", re.IGNORECASE)
"""What costs a job no attempt."""


def check(evidence: Evidence) -> Iterator[str]:
    yield from _leases(evidence)
    yield from _answers(evidence)
    yield from _absences(evidence)
    yield from _conflicts(evidence)
    yield from _deaths(evidence)


def _leases(evidence: Evidence) -> Iterator[str]:
    """Only who holds a job's lease ends it, but for the purge of an athlete."""
    purged = {row[0] for row in evidence.all("SELECT DISTINCT athlete_id FROM deletion_receipts")}
    for taken in evidence.ledger.sightings.leases:
        if taken.athlete_id not in purged:
            yield f"a job was ended by a process that did not hold its lease: {taken.key} at {taken.at:.0f}"


def _answers(evidence: Evidence) -> Iterator[str]:
    """An event is answered by what Strava said after it came; what Strava shows is not given up."""
    ledger = evidence.ledger
    deleted = ledger.sightings.deletes
    for answer in ledger.sightings.answers:
        if not answer.live and deleted.get(answer.object_id, math.inf) <= answer.at:
            continue  # a delete of what is not here needs no question, and takes the events that wait with it
        asked = ledger.asked.get(answer.object_id, [])
        spec = evidence.world.activities.get(answer.object_id)
        if spec is not None and spec.athlete_id != answer.owner_id:
            continue  # a forgery that names another owner: no need to ask
        first = bisect_left(asked, answer.received)
        if first == len(asked) or asked[first] > answer.at:
            yield f"an event was answered without asking Strava after it came: activity {answer.object_id}"
        if (answer.note or "").startswith("not_visible") and _always_shown(evidence, answer.object_id):
            yield f"an activity was given up that Strava shows: activity {answer.object_id}"


def _absences(evidence: Evidence) -> Iterator[str]:
    """Streams that Strava is still making are not called absent."""
    for activity_id in sorted(evidence.ledger.sightings.absences):
        spec = evidence.world.activities.get(activity_id)
        if spec is None or spec.manual or not _always_shown(evidence, activity_id):
            continue
        if spec.created_at - spec.start < DAY_S / 2:
            yield f"streams were called absent that Strava has: activity {activity_id}"


def _conflicts(evidence: Evidence) -> Iterator[str]:
    """Nobody is asked about a mass deletion that was none."""
    for row in evidence.all("SELECT athlete_id, detail FROM conflicts ORDER BY id"):
        missing = msgspec.json.decode(row["detail"])["missing"]
        if any(_always_shown(evidence, activity_id) for activity_id in missing):
            athlete = row["athlete_id"]
            yield f"a person was asked about missing activities that Strava shows: athlete {athlete}"


def _deaths(evidence: Evidence) -> Iterator[str]:
    """No job is given up for what it only had to wait for."""
    for key, error in evidence.ledger.sightings.deaths:
        if WAITS.search(error or ""):
            yield f"a job was given up that only had to wait: {key}: {error}"


def _always_shown(evidence: Evidence, activity_id: int) -> bool:
    """Whether Strava has shown us the activity ever since it was there."""
    spec = evidence.world.activities.get(activity_id)
    if spec is None or spec.deleted or activity_id in evidence.ledger.touched:
        return False
    grant = evidence.world.grants.live.get(spec.athlete_id)
    return grant is not None and grant.reads_private and spec.athlete_id not in evidence.ledger.ever_left
