"""Conditions that held all along: a later recheck may repair a state that was wrong for hours."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator

import msgspec

from .evidence import Evidence

DAY_S = 86_400.0
WAITS = re.compile(r"\b429\b|Inactive|quota|rate limit", re.IGNORECASE)
"""Errors that cost a job no attempt."""

FOREIGN = re.compile(r"^(GET|POST) \S+( page \d+)? (2\d\d|3\d\d|404|410|40[13] \(?<)")
"""Failed calls that never are Strava's refusal: redirects, strange successes, 404s, HTML."""


def check(evidence: Evidence) -> Iterator[str]:
    yield from _leases(evidence)
    yield from _completed_events(evidence)
    yield from _absent_streams(evidence)
    yield from _conflicts(evidence)
    yield from _dead_letters(evidence)
    yield from _burials(evidence)


def _leases(evidence: Evidence) -> Iterator[str]:
    """Only the process with the lease of a job ends the job. A purge may end any job of its athlete."""
    purged = {row[0] for row in evidence.all("SELECT DISTINCT athlete_id FROM deletion_receipts")}
    for violation in evidence.ledger.observations.lease_violations:
        if violation.athlete_id not in purged:
            job = f"{violation.key} at {violation.at:.0f}"
            yield f"a job was ended by a process that did not hold its lease: {job}"


def _completed_events(evidence: Evidence) -> Iterator[str]:
    """Strava was asked about an activity between its event's arrival and its completion.

    And no activity became `not_visible` although Strava always showed it.
    """
    ledger = evidence.ledger
    deletes = ledger.observations.deletes
    for event in ledger.observations.completed_events:
        if not event.live and deletes.get(event.object_id, math.inf) <= event.at:
            continue  # without our row, a delete needs no call, and completes the events that wait with it
        fetched = ledger.fetched.get(event.object_id, [])
        spec = evidence.world.activities.get(event.object_id)
        if spec is None or spec.athlete_id != event.owner_id:
            continue  # a forgery needs no call: the activity is invented, or another athlete's
        first = bisect_left(fetched, event.received)
        if first == len(fetched) or fetched[first] > event.at:
            yield f"an event was completed without asking Strava after it arrived: activity {event.object_id}"
        if (event.note or "").startswith("not_visible") and _always_shown(evidence, event.object_id):
            yield f"an activity became not_visible although Strava shows it: activity {event.object_id}"


def _absent_streams(evidence: Evidence) -> Iterator[str]:
    """No streams became `absent` while Strava was still processing them."""
    for activity_id in sorted(evidence.ledger.observations.absent_streams):
        spec = evidence.world.activities.get(activity_id)
        if spec is None or spec.manual or not _always_shown(evidence, activity_id):
            continue
        if spec.created_at - spec.start < DAY_S / 2:
            yield f"streams became absent although Strava has them: activity {activity_id}"


def _conflicts(evidence: Evidence) -> Iterator[str]:
    """No conflict was created without a mass deletion."""
    for row in evidence.all("SELECT athlete_id, detail FROM conflicts ORDER BY id"):
        missing = msgspec.json.decode(row["detail"])["missing"]
        if any(_always_shown(evidence, activity_id) for activity_id in missing):
            athlete = row["athlete_id"]
            yield f"a conflict lists missing activities that Strava shows: athlete {athlete}"


def _dead_letters(evidence: Evidence) -> Iterator[str]:
    """No job became a dead letter for a reason that costs no attempt, or on the word of somebody else.

    A failure that one call meets while others are answered is blamed on its object until a retry succeeds.
    """
    for key, error in evidence.ledger.observations.dead_letters:
        if WAITS.search(error or ""):
            yield f"a job became a dead letter although it only had to wait: {key}: {error}"
        elif FOREIGN.search(error or ""):
            yield f"a job became a dead letter although Strava has refused nothing: {key}: {error}"


def _burials(evidence: Evidence) -> Iterator[str]:
    """No activity became a tombstone while Strava showed it, even if it was restored later."""
    for at, activity_id in evidence.ledger.observations.burials:
        if _always_shown(evidence, activity_id):
            yield f"activity {activity_id} became a tombstone at {at:.0f} although Strava has always shown it"


def _always_shown(evidence: Evidence, activity_id: int) -> bool:
    """Return whether Strava has shown us the activity since its upload."""
    spec = evidence.world.activities.get(activity_id)
    if spec is None or spec.deleted or activity_id in evidence.ledger.touched:
        return False
    grant = evidence.world.grants.live.get(spec.athlete_id)
    return grant is not None and grant.reads_private and spec.athlete_id not in evidence.ledger.ever_left
