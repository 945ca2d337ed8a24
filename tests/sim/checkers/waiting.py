"""Nothing waits forever."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence, text

GRACE_S = 900.0
HORIZON_S = 2 * 86_400.0
"""No job is due later than this."""


def check(evidence: Evidence) -> Iterator[str]:
    now = evidence.now
    for row in evidence.all("SELECT kind, key, lease_owner FROM jobs WHERE state = 'running' ORDER BY id"):
        yield f"a lease is left: {row['kind']} {row['key']}"
    queued = "SELECT kind, key, due_at, last_error FROM jobs WHERE state = 'queued' AND "
    for row in evidence.all(queued + "due_at < ? ORDER BY id", text(now - GRACE_S)):
        yield f"overdue since {row['due_at']}: {row['kind']} {row['key']} ({row['last_error']})"
    for row in evidence.all(queued + "due_at > ? ORDER BY id", text(now + HORIZON_S)):
        yield f"waits until {row['due_at']}: {row['kind']} {row['key']} ({row['last_error']})"
    leases = (
        "SELECT id FROM strava_athletes WHERE refresh_lease_until IS NOT NULL AND refresh_lease_until > ?"
    )
    for row in evidence.all(leases, text(now + GRACE_S)):
        yield f"athlete {row['id']}: the lease for the token refresh ends later than any refresh takes"
    unfinished = "SELECT id FROM strava_athletes WHERE status = 'active' AND NOT initial_sync_completed"
    for row in evidence.all(unfinished):
        yield f"athlete {row['id']}: the backfill never ended"
