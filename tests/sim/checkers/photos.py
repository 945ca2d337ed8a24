"""The photos of every stored activity are stored, and none of them is a placeholder."""

from __future__ import annotations

import json
from collections.abc import Iterator

from feedzone.sandbox import payloads

from .evidence import Evidence

ACTIVITIES = (
    "SELECT a.id, p.state, p.photos FROM strava_activities a "
    "LEFT JOIN activity_photos p ON p.activity_id = a.id WHERE a.athlete_id = ? AND a.sync_status = 'synced'"
)


def check(evidence: Evidence) -> Iterator[str]:
    for athlete_id in evidence.connected():
        for row in evidence.all(ACTIVITIES, athlete_id):
            spec = evidence.world.activities.get(row["id"])
            if spec is None:
                continue  # Strava has no such activity: equality.py reports it
            expected = len(payloads.photo_times(spec))
            listed = json.loads(row["photos"] or "[]")
            if len(listed) != expected:
                stored = f"{len(listed)} are stored, in state {row['state']}"
                yield f"activity {spec.id} has {expected} photos at Strava, but {stored}"
            if any("placeholder" in url for photo in listed for url in photo["urls"].values()):
                yield f"activity {spec.id} has a placeholder among its stored photos"
