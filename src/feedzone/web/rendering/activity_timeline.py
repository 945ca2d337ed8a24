"""The history of an activity in time order: webhook events, requests, changes and next steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from ...domain.job_kinds import KINDS
from ...domain.wording import count
from ...queries.activities import Change
from ...queries.activity_history import ActivityHistory, Call
from ...queries.jobs import Job
from .filters import LANES, clock_time, elapsed, sport
from .units import Measure, Measures

FETCHES: Mapping[str, str] = {
    endpoint: words for kind in KINDS.values() for endpoint, words in kind.endpoints.items()
}

ASPECTS: Mapping[str, str] = {"create": "created", "update": "updated", "delete": "deleted"}

CAUSES: Mapping[str, str] = {
    "event": "webhook event",
    "backfill": "initial sync or history",
    "reconciliation": "check",
    "recheck": "follow-up check",
    "request": "manual request",
}

FIELDS: Mapping[str, str] = {
    "name": "title",
    "sport_type": "sport",
    "type": "sport group",
    "workout_type": "workout type",
    "start_date": "start",
    "start_date_local": "start, local time",
    "start_hidden": "start hidden",
    "utc_offset": "offset from UTC",
    "timezone": "time zone",
    "total_elevation_gain": "elevation gain",
    "elev_high": "highest point",
    "elev_low": "lowest point",
    "average_heartrate": "average heart rate",
    "max_heartrate": "max heart rate",
    "gear_id": "gear",
    "device_name": "device",
    "summary_polyline": "track",
    "start_lat": "start, latitude",
    "start_lng": "start, longitude",
    "total_photo_count": "number of photos",
    "hide_from_home": "hidden from feeds",
}

OPAQUE = frozenset({"summary_polyline", "start_lat", "start_lng"})
"""Fields whose values mean nothing to a person: the history says only that they changed."""

MAX_TEXT = 140


class FieldChange(NamedTuple):
    """A changed field. Both values are empty where the history does not show them."""

    field: str
    old: str = ""
    new: str = ""


class Entry(NamedTuple):
    """One line of the history. `event` is the id of the webhook event that it is, or that caused it."""

    at: datetime
    text: str
    detail: str = ""
    level: str = "idle"
    event: str = ""
    cause: str = ""
    fields: tuple[FieldChange, ...] = ()
    retry: str = ""
    """The id of a dead letter that can be retried."""
    is_ahead: bool = False


def timeline(file: ActivityHistory, measures: Measures, now: datetime, *, show_values: bool) -> list[Entry]:
    """Return the history, oldest first. `show_values`: the viewer may see old and new values."""
    entries = [
        *_events(file),
        *(_request(call) for call in file.calls),
        *(
            Entry(attempt.ended_at, f"Attempt {attempt.attempt} failed", attempt.error, "bad")
            for attempt in file.attempts
        ),
        *_changes(file, measures, show_values=show_values),
        *_states(file, show_values=show_values),
        *(_next(job, now) for job in file.jobs),
    ]
    return sorted(entries, key=lambda entry: (entry.is_ahead, entry.at))


def _events(file: ActivityHistory) -> Iterator[Entry]:
    errors = {attempt.error for attempt in file.attempts}
    for event in file.events:
        aspect = ASPECTS.get(event.aspect_type, event.aspect_type)
        signed = {"mismatch": "(wrong signature)", "verified": "(signed)"}.get(event.signature, "")
        level = "bad" if event.signature == "mismatch" else "live"
        error = "" if event.error_message in errors else event.error_message or ""
        detail = "; ".join(part for part in (signed, error) if part)
        yield Entry(event.created_at, f"Webhook: {aspect}", detail, level, event.id)


def _request(call: Call) -> Entry:
    target, duration = FETCHES.get(call.endpoint, call.endpoint), elapsed(call.ms / 1000)
    lane = LANES.get(call.lane, call.lane).lower()
    if call.status is None:
        detail = f"(no response within {duration}; {lane})"
        return Entry(call.sent_at, f"Fetching {target} failed", detail, "bad")
    is_ok = call.status < 400
    meaning = {404: ", not visible to feedzone", 429: ", rate limit reached"}.get(call.status, "")
    level = "good" if is_ok else "warn" if call.status == 404 else "bad"
    text = f"Fetched {target}" if is_ok else f"Fetching {target} failed"
    return Entry(call.sent_at, text, f"({call.status}, {duration}{meaning}; {lane})", level)


def _changes(file: ActivityHistory, measures: Measures, *, show_values: bool) -> Iterator[Entry]:
    ordered = sorted(file.changes, key=lambda change: change.id)
    for (at, source), group in groupby(ordered, key=lambda change: (change.changed_at, change.cause)):
        kind, _, event = source.partition(":")
        cause = CAUSES.get("event" if event else kind, source)
        changes = list(group)
        for change in changes:
            if change.field == "sync_status":
                text, level = _presence(change)
                yield Entry(at, text, level=level, event=event, cause=cause)
        rest = [change for change in changes if change.field != "sync_status"]
        if rest:
            fields = tuple(_field_change(change, file, measures, show_values=show_values) for change in rest)
            yield Entry(at, "Changed", level="live", event=event, cause=cause, fields=fields)


def _presence(change: Change) -> tuple[str, str]:
    if _value(change.new_value) == "deleted":
        return "Deleted; only its id is kept", "warn"
    return ("First stored" if _value(change.old_value) is None else "Visible again"), "good"


def _field_change(
    change: Change, file: ActivityHistory, measures: Measures, *, show_values: bool
) -> FieldChange:
    label = FIELDS.get(change.field, change.field.replace("_", " "))
    if not show_values or change.field in OPAQUE:
        return FieldChange(label)
    old, new = (
        _display(change.field, _value(raw), file, measures) for raw in (change.old_value, change.new_value)
    )
    return FieldChange(label, old, new)


def _value(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


def _display(field: str, value: Any, file: ActivityHistory, measures: Measures) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field == "gear_id":
        return file.gear_names.get(value, str(value))
    if field in ("sport_type", "type"):
        return sport(value)
    if field in ("moving_time", "elapsed_time"):
        return clock_time(value) or "0:00"
    if isinstance(value, (int, float)):
        measure = _measure(field, measures)
        return measure.text(value) if measure else f"{value:g}"
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _measure(field: str, measures: Measures) -> Measure | None:
    by_field = {
        "distance": measures.distance,
        "average_speed": measures.speed,
        "max_speed": measures.speed,
        "total_elevation_gain": measures.height,
        "elev_high": measures.height,
        "elev_low": measures.height,
        "average_temp": measures.temperature,
        "average_cadence": measures.cadence,
        "average_heartrate": measures.heartrate,
        "max_heartrate": measures.heartrate,
        "average_watts": measures.power,
        "max_watts": measures.power,
        "weighted_average_watts": measures.power,
    }
    return by_field.get(field)


def _states(file: ActivityHistory, *, show_values: bool) -> Iterator[Entry]:
    activity, streams = file.activity, file.streams
    if activity is not None and not any(change.changed_at == activity.created_at for change in file.changes):
        yield Entry(activity.created_at, "First stored", level="good")
    if streams is None:
        return
    if streams.state == "present":
        # The number of samples would give away the duration.
        channels = count(len(streams.channels), "channel")
        size = f"({streams.samples:,} samples, {channels})" if show_values else ""
        yield Entry(streams.fetched_at, "Streams stored", size, "good")
    elif streams.state == "absent":
        yield Entry(streams.fetched_at, "No streams", "(Strava has none)")
    elif not streams.samples:
        yield Entry(streams.fetched_at, "No streams yet", "(Strava is still processing them)", "warn")


def _next(job: Job, now: datetime) -> Entry:
    """Return the entry of a live job or a dead letter."""
    target = KINDS[job.kind].short_label
    lane = LANES.get(job.lane, job.lane).lower()
    if job.state == "dead":
        attempts = count(job.attempts, "attempt")
        text = f"Fetching {target} failed for good"
        return Entry(job.updated_at, text, f"(after {attempts})", "bad", retry=job.id)
    if job.state == "running":
        return Entry(now, f"Fetching {target}", f"({lane})", "live", is_ahead=True)
    if job.due_at > now:
        reason = job.last_error or ("follow-up check" if job.cause == "recheck" else lane)
        return Entry(job.due_at, f"Next fetch of {target}", f"({reason})", is_ahead=True)
    return Entry(now, f"Queued to fetch {target}", f"({lane})", "live", is_ahead=True)
