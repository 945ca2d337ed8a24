"""Stored bikes and shoes equal those of the profiles that the scopes show."""

from __future__ import annotations

from collections.abc import Iterator

from feedzone.sandbox.athletes import Gear

from .evidence import Evidence


def check(evidence: Evidence) -> Iterator[str]:
    for athlete_id in evidence.connected():
        grant = evidence.world.grants.live[athlete_id]
        if grant.reads_activities and "profile:read_all" in grant.scopes:
            yield from _athlete(evidence, athlete_id)


def _athlete(evidence: Evidence, athlete_id: int) -> Iterator[str]:
    owned = {gear.id: gear for gear in evidence.world.athletes[athlete_id].gear if not gear.deleted}
    rows = evidence.all("SELECT * FROM strava_gear WHERE athlete_id = ?", athlete_id)
    stored = {row["id"]: row for row in rows if row["removed_at"] is None}
    for missing in sorted(owned.keys() - stored.keys()):
        yield f"gear {missing} of {athlete_id} is in the profile and not here"
    for extra in sorted(stored.keys() - owned.keys()):
        yield f"gear {extra} of {athlete_id} was deleted at Strava and is not marked here"
    for shared in sorted(owned.keys() & stored.keys()):
        row, expected = stored[shared], _columns_of(owned[shared])
        actual = (row["kind"], row["name"], bool(row["retired"]), row["distance"])
        if actual != expected:
            yield f"gear {shared} of {athlete_id} is {actual} here and {expected} at Strava"


def _columns_of(gear: Gear) -> tuple[str, str, bool, float]:
    return "bike" if gear.id.startswith("b") else "shoe", gear.name, gear.retired, float(gear.distance)
