"""Strava's JSON of activities: summary (resource_state 2), detail (3), laps, splits, zones, photos.

The fields follow docs/strava-api.md#resources. Oddities that clients must handle are here on purpose: local
time with a trailing Z, null or empty coordinates, no polyline on manual activities.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from . import totals
from .athletes import Athlete, gear_json
from .history import ActivitySpec
from .motion import Motion
from .places import utc_offset_s, zone_label
from .sports import sport_named
from .totals import Piece, Totals

UPLOAD_OFFSET = 1_083_655_906
_HR_ZONES = (0.0, 0.6, 0.72, 0.82, 0.91)


def iso(epoch: float) -> str:
    """Return epoch seconds in the format of Strava's timestamps."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def manual_totals(spec: ActivitySpec, athlete: Athlete) -> Totals:
    """Return the totals of a manual activity: a distance and a duration, no measured data."""
    distance = round(sport_named(spec.shape).speed * athlete.fitness * spec.elapsed / 50) * 50.0
    return Totals(distance=distance, moving_s=spec.elapsed, elapsed_s=spec.elapsed)


def summary(spec: ActivitySpec, athlete: Athlete, total: Totals) -> dict[str, Any]:
    """Return one row of `GET /athlete/activities`."""
    body: dict[str, Any] = {
        "resource_state": 2,
        "athlete": {"id": athlete.id, "resource_state": 1},
        "name": spec.name,
        "distance": total.distance,
        "moving_time": total.moving_s,
        "elapsed_time": total.elapsed_s,
        "total_elevation_gain": total.gain,
        "type": spec.legacy_type,
        "sport_type": spec.sport_type,
        "workout_type": spec.workout_type,
        "device_name": _device(spec, athlete),
        "id": spec.id,
        **_times(spec, athlete),
        "location_city": None,
        "location_state": None,
        # Recorded traffic has a country for manual activities only.
        "location_country": athlete.city.country if spec.manual else None,
        "achievement_count": 0,
        "kudos_count": spec.id % 9,
        "comment_count": 0,
        "athlete_count": 1,
        "photo_count": 0,
        "map": {"id": f"a{spec.id}", "summary_polyline": total.summary_polyline, "resource_state": 2},
        "trainer": not spec.manual and sport_named(spec.shape).indoor,
        "commute": spec.commute,
        "manual": spec.manual,
        "private": spec.private,
        "visibility": spec.visibility,
        "flagged": False,
        "gear_id": spec.gear_id,
        "start_latlng": total.start,
        "end_latlng": total.end,
        "average_speed": round(total.distance / total.moving_s, 3) if total.moving_s else 0.0,
        "max_speed": total.max_speed,
        "has_heartrate": total.average_hr is not None,
        "heartrate_opt_out": False,
        "display_hide_heartrate_option": total.average_hr is not None,
        "upload_id": spec.id + UPLOAD_OFFSET,
        "upload_id_str": str(spec.id + UPLOAD_OFFSET),
        "external_id": f"garmin_ping_{spec.id % 10**9}",
        "from_accepted_tag": False,
        "pr_count": 0,
        "total_photo_count": len(photo_times(spec)),
        "has_kudoed": False,
        **_sensor_fields(spec, athlete, total),
    }
    if spec.manual:
        body |= {"upload_id": None, "external_id": None, "start_latlng": None, "end_latlng": None}
        body["map"] = {"id": f"a{spec.id}", "resource_state": 2}
        del body["upload_id_str"]
    return body


def detail(
    spec: ActivitySpec, athlete: Athlete, total: Totals, motion: Motion | None, stride: int
) -> dict[str, Any]:
    """Return `GET /activities/{id}`: the summary and the fields that only the detail has."""
    body = summary(spec, athlete, total)
    body["resource_state"] = 3
    body["map"]["resource_state"] = 3
    if motion is not None:
        body["map"]["polyline"] = totals.full_polyline(motion)
    gear = next((g for g in athlete.gear if g.id == spec.gear_id), None)
    body |= {
        "description": spec.description,
        "calories": _calories(athlete, total),
        "perceived_exertion": None,
        "prefer_perceived_exertion": None,
        "segment_efforts": [],
        "laps": laps(spec, athlete, motion, stride),
        "photos": _photo_summary(spec),
        "stats_visibility": [
            {"type": kind, "visibility": "everyone"}
            for kind in ("heart_rate", "pace", "power", "speed", "calories")
        ],
        "hide_from_home": False,
        "embed_token": hashlib.sha256(f"embed:{spec.id}".encode()).hexdigest()[:40],
        "available_zones": _available_zones(spec, total),
    }
    if gear:
        body["gear"] = gear_json(gear)
    on_foot_or_wheels = sport_named(spec.shape).legacy in ("Run", "Walk", "Hike", "Ride")
    if motion is not None and total.distance and on_foot_or_wheels:
        body["splits_metric"] = splits(motion, 1000.0, stride)
        body["splits_standard"] = splits(motion, 1609.344, stride)
        body["best_efforts"] = []
    return body


def laps(spec: ActivitySpec, athlete: Athlete, motion: Motion | None, stride: int) -> list[dict[str, Any]]:
    """Return the laps of an activity: one, or with auto-lap one per kilometre (five on a bike)."""
    if motion is None:
        return []
    legacy = sport_named(spec.shape).legacy
    every = {"Run": 1000.0, "Ride": 5000.0}.get(legacy) if athlete.auto_laps else None
    pieces = totals.split_by_distance(motion, every, stride) if every else [totals.single_lap(motion, stride)]
    return [_lap(spec, athlete, n, piece) for n, piece in enumerate(pieces, 1)]


def splits(motion: Motion, metres: float, stride: int) -> list[dict[str, Any]]:
    """Return `splits_metric` or `splits_standard`, depending on the length in metres."""
    return [
        {
            "distance": p.distance,
            "elapsed_time": p.elapsed_s,
            "elevation_difference": p.rise,
            "moving_time": p.moving_s,
            "split": n,
            "average_speed": round(p.distance / p.moving_s, 2) if p.moving_s else 0.0,
            "average_grade_adjusted_speed": _on_flat_ground(p),
            **({"average_heartrate": p.average_hr} if p.average_hr is not None else {}),
            "pace_zone": 2,
        }
        for n, p in enumerate(totals.split_by_distance(motion, metres, stride), 1)
    ]


def zones(athlete: Athlete, motion: Motion | None, total: Totals) -> list[dict[str, Any]]:
    """Return `GET /activities/{id}/zones`: time in heart rate zones, `[]` without a heart rate."""
    if motion is None or motion.hr is None:
        return []
    bounds = [round(share * athlete.max_hr) for share in _HR_ZONES]
    seconds = totals.time_in_zones(motion.hr, motion.t, [float(b) for b in bounds])
    uppers = [*(b - 1 for b in bounds[1:]), -1]
    buckets = [{"min": b, "max": u, "time": s} for b, u, s in zip(bounds, uppers, seconds, strict=True)]
    score = _suffer_score(total)
    return [{
        "score": score, "distribution_buckets": buckets, "type": "heartrate", "resource_state": 3,
        "sensor_based": True, "points": score, "custom_zones": False,
    }]  # fmt: skip


def photo_times(spec: ActivitySpec) -> list[float]:
    """Return when each photo of the activity was added; most activities have no photos."""
    if spec.photos is not None:
        return spec.photos
    return [spec.created_at] * (spec.id % 3 + 1) if spec.id % 11 == 0 else []


def photos(spec: ActivitySpec, athlete: Athlete, size: int, ready_since: float) -> list[dict[str, Any]]:
    """Return `GET /activities/{id}/photos`; every fourth entry is a video.

    Strava still processes what was added after `ready_since`. It shows a placeholder for such a photo, and no
    URL for such a video.
    """
    rows = []
    for n, added in enumerate(photo_times(spec)):
        ready, video = added <= ready_since, (spec.id + n) % 4 == 3
        key = _photo_key(spec, n)
        row: dict[str, Any] = {
            "unique_id": key, "athlete_id": athlete.id, "activity_id": spec.id, "activity_name": spec.name,
            "post_id": None, "resource_state": 2, "caption": "", "type": 2 if video else 1, "source": 1,
            "status": 3 if ready else 1, "uploaded_at": iso(added), "created_at": iso(added),
            "created_at_local": iso(added + utc_offset_s(athlete.city, added)),
            "urls": {str(size): _photo_url(key, ready, video)},
            "placeholder_image": None,
            "sizes": {str(size): [size, size * 3 // 4]},
            "default_photo": n == 0, "cursor": None,
        }  # fmt: skip
        if video:
            row |= {"video_url": f"https://sandbox.invalid/videos/{key}.m3u8" if ready else None,
                    "duration": 8.5}  # fmt: skip
        rows.append(row)
    return rows


def _photo_key(spec: ActivitySpec, number: int) -> str:
    return hashlib.sha256(f"photo:{spec.id}:{number}".encode()).hexdigest()[:32]


def _photo_url(key: str, ready: bool, video: bool) -> str | None:
    if ready:
        return f"https://sandbox.invalid/photos/{key}.jpg"
    return None if video else "https://sandbox.invalid/assets/placeholder-photo.png"


def _photo_summary(spec: ActivitySpec) -> dict[str, Any]:
    count = len(photo_times(spec))
    if not count:
        return {"primary": None, "count": 0}
    key = _photo_key(spec, 0)
    urls = {size: f"https://sandbox.invalid/photos/{key}-{size}.jpg" for size in ("600", "100")}
    primary = {"unique_id": key, "urls": urls, "source": 1, "media_type": 1}
    return {"primary": primary, "use_primary_photo": True, "count": count}


def _times(spec: ActivitySpec, athlete: Athlete) -> dict[str, Any]:
    offset = utc_offset_s(athlete.city, spec.start)
    start = spec.start
    if spec.start_hidden:
        # Strava shows a hidden start time as 00:00:01.
        start = (spec.start + offset) // 86400 * 86400 + 1 - offset
    return {
        "start_date": iso(start),
        "start_date_local": iso(start + offset),
        "timezone": zone_label(athlete.city),
        "utc_offset": float(offset),
    }


def _sensor_fields(spec: ActivitySpec, athlete: Athlete, total: Totals) -> dict[str, Any]:
    fields = {
        "average_cadence": total.average_cadence,
        "average_temp": total.average_temp,
        "average_heartrate": total.average_hr,
        "max_heartrate": total.max_hr,
        "elev_high": total.elev_high,
        "elev_low": total.elev_low,
        "average_watts": total.average_watts,
        "max_watts": total.max_watts,
        "weighted_average_watts": total.weighted_watts,
        "kilojoules": total.kilojoules,
    }
    body = {key: value for key, value in fields.items() if value is not None}
    if not spec.manual and sport_named(spec.shape).power:
        body["device_watts"] = total.average_watts is not None
    if total.average_hr is not None and athlete.premium:
        body["suffer_score"] = float(_suffer_score(total))
    return body


def _suffer_score(total: Totals) -> int:
    return round(max(0.0, ((total.average_hr or 0) - 90) / 55) ** 2 * total.moving_s / 36)


def _calories(athlete: Athlete, total: Totals) -> float:
    if total.kilojoules is not None:
        return round(total.kilojoules * 1.05, 1)
    beats = total.average_hr or 125.0
    return round(total.moving_s / 3600 * athlete.weight * (beats - 50) / 9.5, 1)


def _on_flat_ground(piece: Piece) -> float:
    """Return about how fast the athlete would have been without the slope, in m/s."""
    slope = piece.rise / piece.distance if piece.distance else 0.0
    return round(piece.distance / piece.moving_s * (1 + 3 * slope), 2) if piece.moving_s else 0.0


def _available_zones(spec: ActivitySpec, total: Totals) -> list[str]:
    kinds = ["heartrate"] if total.average_hr is not None else []
    return [*kinds, "pace"] if sport_named(spec.shape).legacy == "Run" and not spec.manual else kinds


def _device(spec: ActivitySpec, athlete: Athlete) -> str | None:
    if spec.manual:
        return None
    return athlete.computer if sport_named(spec.shape).gear == "b" else athlete.watch


def part(spec: ActivitySpec, athlete: Athlete, number: int, name: str, piece: Piece) -> dict[str, Any]:
    """Return the fields that laps and efforts share."""
    start = spec.start + piece.start_s
    return {
        "id": number,
        "resource_state": 2,
        "name": name,
        "activity": {"id": spec.id, "visibility": spec.visibility, "resource_state": 1},
        "athlete": {"id": athlete.id, "resource_state": 1},
        "elapsed_time": piece.elapsed_s,
        "moving_time": piece.moving_s,
        "start_date": iso(start),
        "start_date_local": iso(start + utc_offset_s(athlete.city, start)),
    }


def _lap(spec: ActivitySpec, athlete: Athlete, number: int, piece: Piece) -> dict[str, Any]:
    body = part(spec, athlete, spec.id * 3 + number, f"Lap {number}", piece)
    body |= {
        "distance": piece.distance,
        "average_speed": round(piece.distance / piece.moving_s, 2) if piece.moving_s else 0.0,
        "max_speed": piece.max_speed,
        "lap_index": number,
        "split": number,
        "start_index": piece.start_index,
        "end_index": piece.end_index,
        "total_elevation_gain": piece.gain,
        "device_watts": False,
    }
    if piece.average_hr is not None:
        body |= {"average_heartrate": round(piece.average_hr, 1), "max_heartrate": piece.max_hr}
    if sport_named(spec.shape).legacy == "Run":
        body["pace_zone"] = 2
    return body
