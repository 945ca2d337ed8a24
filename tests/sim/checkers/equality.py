"""Our rows equal Strava's, for every athlete and scope, within `INITIAL_SYNC_DAYS`."""

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
"""The window moves while the world settles, so its oldest day is not compared."""


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
    stored = {
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
    for missing in sorted(truth.keys() - stored.keys()):
        yield f"activity {missing} of {athlete_id} is at Strava and not here"
    for extra in sorted(stored.keys() - truth.keys()):
        yield f"activity {extra} of {athlete_id} is here and Strava does not show it to us"
    for shared in sorted(truth.keys() & stored.keys()):
        yield from _activity(truth[shared], stored[shared])


def _activity(truth: dict[str, Any], stored: Any) -> Iterator[str]:
    where = f"activity {truth['id']}"
    for field in FIELDS:
        value = bool(stored[field]) if field in ("private", "manual") else stored[field]
        if value != truth[field]:
            yield f"{where}: {field} is {value!r} here and {truth[field]!r} at Strava"
    expected = "absent" if truth["manual"] else "present"
    if stored["stream_state"] != expected:
        yield f"{where}: its streams are {stored['stream_state']} here and should be {expected}"
    if stored["sync_status"] != "synced":
        yield f"{where}: sync_status is {stored['sync_status']} ({stored['last_sync_error']})"
