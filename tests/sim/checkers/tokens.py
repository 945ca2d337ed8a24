"""No token was used after it was replaced, and nobody was cut off for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence


def check(evidence: Evidence) -> Iterator[str]:
    ledger = evidence.ledger
    for athlete_id, at in ledger.stale_uses:
        if athlete_id not in ledger.lost_pairs:
            yield f"athlete {athlete_id}: a refresh token was used at {at:.0f} that had been replaced"
    for athlete_id, at in ledger.asked_together:
        yield f"athlete {athlete_id}: a refresh was begun at {at:.0f} while another was under way"
    for athlete_id in sorted(ledger.wrongly_cut_off):
        yield f"athlete {athlete_id} was told to connect again although nothing had happened to their pair"
    for athlete_id in evidence.connected():
        found = evidence.all("SELECT status, scopes FROM strava_athletes WHERE id = ?", athlete_id)
        reads = evidence.world.grants.live[athlete_id].reads_activities
        expected = "active" if reads else "needs_scope"
        if not found:
            yield f"athlete {athlete_id} is connected at Strava and unknown here"
        elif found[0]["status"] != expected:
            yield f"athlete {athlete_id} is {found[0]['status']} here and should be {expected}"
