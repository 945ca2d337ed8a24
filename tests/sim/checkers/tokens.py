"""No refresh token was used after it was replaced, and no athlete had to connect again without reason."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence


def check(evidence: Evidence) -> Iterator[str]:
    ledger = evidence.ledger
    for athlete_id, at in ledger.stale_uses:
        if athlete_id not in ledger.lost_pairs:
            yield f"athlete {athlete_id}: a replaced refresh token was used at {at:.0f}"
    for athlete_id, at in ledger.concurrent_refreshes:
        yield f"athlete {athlete_id}: a refresh began at {at:.0f} during another one"
    for athlete_id in sorted(ledger.needless_reconnects):
        yield f"athlete {athlete_id} had to connect again although their pair was valid"
    for athlete_id in evidence.connected():
        rows = evidence.all("SELECT status, scopes FROM strava_athletes WHERE id = ?", athlete_id)
        reads = evidence.world.grants.live[athlete_id].reads_activities
        expected = "active" if reads else "needs_scope"
        if not rows:
            yield f"athlete {athlete_id} is connected at Strava and has no row here"
        elif rows[0]["status"] != expected:
            yield f"athlete {athlete_id} is {rows[0]['status']} here and should be {expected}"
