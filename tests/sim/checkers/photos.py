"""The photos of every activity that we hold are here, and none of them is a placeholder."""

from __future__ import annotations

import json
from collections.abc import Iterator

from feedzone.sandbox import payloads

from .evidence import Evidence

HELD = (
    "SELECT a.id, p.state, p.photos FROM strava_activities a "
    "LEFT JOIN activity_photos p ON p.activity_id = a.id WHERE a.athlete_id = ? AND a.sync_status = 'synced'"
)


def check(evidence: Evidence) -> Iterator[str]:
    for athlete_id in evidence.connected():
        for row in evidence.all(HELD, athlete_id):
            spec = evidence.world.activities.get(row["id"])
            if spec is None:
                continue  # Strava has no such activity: equality.py says so
            expected = len(payloads.photo_times(spec))
            listed = json.loads(row["photos"] or "[]")
            if len(listed) != expected:
                here = f"of which {len(listed)} are {row['state']} here"
                yield f"activity {spec.id} has {expected} photos, {here}"
            if any("placeholder" in url for one in listed for url in one["urls"].values()):
                yield f"activity {spec.id} is shown with a placeholder"
