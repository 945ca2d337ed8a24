"""Forged events that would destroy data have changed nothing.

Athletes whose rotated pair was lost are not checked: Strava refuses their tokens, as if they had revoked
access.
"""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence

CLOCK_ERROR_S = 600.0
"""The engine's clock may change by this much between a refusal and an event."""


def check(evidence: Evidence) -> Iterator[str]:
    ledger = evidence.ledger
    for (_, object_id, aspect, owner, at), kind in sorted(ledger.forged.items()):
        if kind == "deauthorization" and owner not in ledger.ever_left | ledger.lost_pairs.keys():
            receipts = evidence.all("SELECT 1 FROM deletion_receipts WHERE athlete_id = ?", owner)
            if receipts:
                yield f"athlete {owner} was purged because of a forged deauthorization at {at}"
        untouched = object_id not in ledger.touched and not _ever_hidden(evidence, owner, object_id)
        if aspect == "delete" and untouched:
            changes = (
                "SELECT changed_at FROM activity_changes WHERE activity_id = ? AND field = 'sync_status' "
                "AND new_value = '\"deleted\"' AND old_value <> 'null'"
            )
            if evidence.all(changes, object_id):
                yield f"activity {object_id} became a tombstone because of a forged delete ({kind}) at {at}"
    yield from _unproven(evidence)
    unknown = {i[3] for i, kind in ledger.forged.items() if kind == "unknown owner"}
    for owner in sorted(unknown):
        if evidence.all("SELECT 1 FROM strava_athletes WHERE id = ?", owner):
            yield f"a forged event created a row for athlete {owner}"


def _unproven(evidence: Evidence) -> Iterator[str]:
    """An event alone purges nobody whose tokens Strava had refused before it came."""
    for departure in evidence.ledger.observations.departures:
        doubtful = departure.status in ("needs_reauth", "leaving") and departure.reason == "deauthorized"
        if not doubtful or departure.refused is None or departure.heard is None:
            continue
        if departure.refused + CLOCK_ERROR_S < departure.heard:
            yield f"athlete {departure.athlete_id} was purged without a proof at {departure.at:.0f}"


def _ever_hidden(evidence: Evidence, owner: int, object_id: int) -> bool:
    """Return whether the activity's real owner ever left or changed scopes, which rightly hides it."""
    spec = evidence.world.activities.get(object_id)
    owners = {owner} | ({spec.athlete_id} if spec else set())
    return bool(owners & evidence.ledger.ever_left)
