"""Every event that the engine answered with 200 is stored and in a final state."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .evidence import Evidence, epoch

GRACE_S = 600.0
"""The engine's clock may be wrong by this much when it writes a deletion receipt."""

QUERY = (
    "SELECT status FROM webhook_events WHERE object_type = ? AND object_id = ? AND aspect_type = ? "
    "AND owner_id = ? AND event_time = ?"
)


def check(evidence: Evidence) -> Iterator[str]:
    started = evidence.world_start
    purged: dict[int, float] = {}
    for row in evidence.all("SELECT athlete_id, purged_at FROM deletion_receipts"):
        purged[row["athlete_id"]] = max(epoch(row["purged_at"]), purged.get(row["athlete_id"], 0.0))
    connected = {
        row["id"]: epoch(row["connected_at"])
        for row in evidence.all("SELECT id, connected_at FROM strava_athletes WHERE status <> 'deauthorized'")
    }
    for identity, at in sorted(evidence.ledger.acknowledged.items()):
        rows = evidence.all(QUERY, *identity)
        event = "{} {} {} of {} at {}".format(*identity)
        # Events of athletes who are not connected are only counted.
        since = max(purged.get(identity[3], 0.0), connected.get(identity[3], math.inf))
        if not rows and since + GRACE_S < started + at:
            yield f"acknowledged event was not stored: {event}"
    query = (
        "SELECT object_type, object_id, aspect_type, status FROM webhook_events "
        "WHERE status NOT IN ('completed', 'failed', 'ignored') ORDER BY id"
    )
    for row in evidence.all(query):
        yield f"event is still {row[3]}: {row[0]} {row[1]} {row[2]}"
    for row in evidence.all(
        "SELECT e.object_type, e.object_id, e.error_message FROM webhook_events e "
        "WHERE e.status = 'failed' AND NOT EXISTS "
        "(SELECT 1 FROM jobs j WHERE j.id = e.job_id AND j.state = 'dead') ORDER BY e.id"
    ):
        yield f"event failed, but its job is not a dead letter: {row[0]} {row[1]}: {row[2]}"
