"""Stored samples equal those at Strava, and no copy of a hidden track is left."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from feedzone.sandbox import streams

from .evidence import Evidence, epoch

MARGIN_S = 86_400.0
"""See equality.py."""

POLYLINE = re.compile(r'polyline": ?"[^"]')

STORED = (
    "SELECT a.id, a.start_date, a.summary, a.detail, a.summary_polyline, s.blob, s.channels "
    "FROM strava_activities a JOIN activity_streams s ON s.activity_id = a.id "
    "WHERE a.athlete_id = ? AND a.sync_status = 'synced' AND s.blob IS NOT NULL ORDER BY a.id"
)


def check(evidence: Evidence) -> Iterator[str]:
    since = evidence.now - evidence.window_days * 86_400 + MARGIN_S
    for athlete_id in evidence.connected():
        for row in evidence.all(STORED, athlete_id):
            spec = evidence.world.activities.get(row["id"])
            if spec is None or spec.deleted or epoch(row["start_date"]) <= since:
                continue  # equality.py compares which activities there are
            yield from _samples(evidence, spec, row)
            if spec.map_hidden:
                yield from _track(row)


def _samples(evidence: Evidence, spec: Any, row: Any) -> Iterator[str]:
    motion = evidence.world.motion(spec)
    if motion is None:
        return
    truth = streams.build(motion, set(streams.KEYS), evidence.world.stride(spec))
    if "latlng" in truth:
        truth["lat"], truth["lng"] = map(list, zip(*truth.pop("latlng"), strict=True))
    table = pq.read_table(io.BytesIO(row["blob"]))
    stored = {
        name: [_plain(value) for value in table.column(name).to_pylist()] for name in table.column_names
    }
    for channel in sorted(truth.keys() | stored.keys()):
        if channel not in stored:
            yield f"activity {spec.id}: its {channel} are at Strava and not here"
        elif channel not in truth:
            yield f"activity {spec.id}: its {channel} are here and not at Strava"
        elif truth[channel] != stored[channel]:
            yield f"activity {spec.id}: its {channel} differ from Strava's"


def _track(row: Any) -> Iterator[str]:
    if row["summary_polyline"] or "latlng" in row["channels"]:
        yield f"activity {row['id']}: its map is hidden, and the track stays"
    detail = row["detail"] and zlib.decompress(row["detail"]).decode()
    for document in (row["summary"], detail):
        if document is not None and POLYLINE.search(document):
            yield f"activity {row['id']}: its map is hidden, and the track stays in the JSON"


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool) else float(value)
