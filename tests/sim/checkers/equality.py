"""Our rows equal Strava's truth, for every athlete and scope, within the window that is kept in step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .evidence import Evidence, epoch, text

FIELDS = (
    "name",
    "type",
    "sport_type",
    "visibility",
    "private",
    "description",
    "gear_id",
    "workout_type",
    "distance",
    "manual",
)
MARGIN_S = 86_400.0
"""The window moves while the world settles: its oldest day is left alone."""


def check(evidence: Evidence) -> Iterator[str]:
    for athlete_id in evidence.connected():
        yield from _athlete(evidence, athlete_id)


def _athlete(evidence: Evidence, athlete_id: int) -> Iterator[str]:
    since = evidence.now - evidence.window_days * 86_400 + MARGIN_S
    truth = {
        row["id"]: row
        for row in evidence.world.truth(athlete_id)
        if epoch(row["start_date"].replace("Z", "+00:00")) > since
    }
    held = {
        row["id"]: row
        for row in evidence.all(
            "SELECT a.*, s.state AS stream_state FROM strava_activities a "
            "LEFT JOIN activity_streams s ON s.activity_id = a.id "
            "WHERE a.athlete_id = ? AND a.sync_status <> 'deleted' "
            "AND (a.start_date IS NULL OR a.start_date > ?)",
            athlete_id,
            text(since),
        )
    }
    for missing in sorted(truth.keys() - held.keys()):
        yield f"activity {missing} of {athlete_id} is at Strava and not here"
    for extra in sorted(held.keys() - truth.keys()):
        yield f"activity {extra} of {athlete_id} is here and Strava does not show it to us"
    for shared in sorted(truth.keys() & held.keys()):
        yield from _activity(truth[shared], held[shared])


def _activity(truth: dict[str, Any], held: Any) -> Iterator[str]:
    where = f"activity {truth['id']}"
    for field in FIELDS:
        ours = bool(held[field]) if field in ("private", "manual") else held[field]
        if ours != truth[field]:
            yield f"{where}: {field} is {ours!r} here and {truth[field]!r} at Strava"
    expected = "absent" if truth["manual"] else "present"
    if held["stream_state"] != expected:
        yield f"{where}: its streams are {held['stream_state']} here and should be {expected}"
    if held["sync_status"] != "synced":
        yield f"{where}: sync_status is {held['sync_status']} ({held['last_sync_error']})"
