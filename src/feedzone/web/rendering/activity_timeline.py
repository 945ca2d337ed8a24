"""What became of an activity, told in time order: what was heard, asked, changed, and what comes next."""

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
from .filters import LANES, clock_time, sport, took
from .units import Measure, Measures

ASKED: Mapping[str, str] = {
    endpoint: f"Asked for {words}" for kind in KINDS.values() for endpoint, words in kind.endpoints.items()
}

WHY: Mapping[str, str] = {
    "event": "an event announced it",
    "backfill": "the athlete's history was listed",
    "reconciliation": "a comparison with Strava found it",
    "recheck": "a later look found it",
    "request": "somebody asked for it",
}

FIELDS: Mapping[str, str] = {
    "name": "title",
    "sport_type": "sport",
    "type": "sport, coarsely",
    "workout_type": "kind of workout",
    "start_date": "start",
    "start_date_local": "start, local time",
    "start_hidden": "start hidden",
    "utc_offset": "offset from UTC",
    "timezone": "time zone",
    "total_elevation_gain": "elevation gain",
    "elev_high": "highest point",
    "elev_low": "lowest point",
    "average_heartrate": "average heart rate",
    "max_heartrate": "highest heart rate",
    "gear_id": "gear",
    "device_name": "device",
    "summary_polyline": "track",
    "start_lat": "start, latitude",
    "start_lng": "start, longitude",
    "total_photo_count": "number of photos",
    "hide_from_home": "hidden from feeds",
}

OPAQUE = frozenset({"summary_polyline", "start_lat", "start_lng"})
"""That they changed is told; their values would say nothing to people."""

LONGEST = 140


class Changed(NamedTuple):
    """A field, from what to what. Both are empty where they are not told."""

    field: str
    old: str = ""
    new: str = ""


class Entry(NamedTuple):
    at: datetime
    text: str
    more: str = ""
    level: str = "idle"
    event: str = ""
    """The id of the event that this is, or that caused it (`because`)."""
    because: str = ""
    fields: tuple[Changed, ...] = ()
    retry: str = ""
    """The id of a job that was given up."""
    is_ahead: bool = False


def story(told: ActivityHistory, measures: Measures, now: datetime, *, open_to: bool) -> list[Entry]:
    """Oldest first. `open_to`: whether the reader may see what changed from what to what."""
    entries = [
        *_events(told),
        *(_asked(call) for call in told.calls),
        *(Entry(one.ended_at, f"Attempt {one.attempt} failed", one.error, "bad") for one in told.attempts),
        *_changes(told, measures, open_to=open_to),
        *_states(told, open_to=open_to),
        *(_next(job, now) for job in told.jobs),
    ]
    return sorted(entries, key=lambda entry: (entry.is_ahead, entry.at))


def _events(told: ActivityHistory) -> Iterator[Entry]:
    verbs = {"create": "there is a new activity", "update": "it was changed", "delete": "it was deleted"}
    failures = {attempt.error for attempt in told.attempts}
    for event in told.events:
        said = verbs.get(event.aspect_type, event.aspect_type)
        signed = {"mismatch": "with a wrong signature", "verified": "signed"}.get(event.signature, "")
        level = "bad" if event.signature == "mismatch" else "live"
        note = "" if event.error_message in failures else event.error_message or ""
        more = "; ".join(part for part in (signed, note) if part)
        yield Entry(event.created_at, f"Strava said: {said}", more, level, event.id)


def _asked(call: Call) -> Entry:
    what, lasted = ASKED.get(call.endpoint, call.endpoint), took(call.ms / 1000)
    lane = LANES.get(call.lane, call.lane).lower()
    if call.status is None:
        return Entry(call.sent_at, what, f"no answer within {lasted}; {lane}", "bad")
    meant = {404: ", not visible to us", 429: ", the rate limit is spent"}.get(call.status, "")
    level = "good" if call.status < 400 else "warn" if call.status == 404 else "bad"
    return Entry(call.sent_at, what, f"{call.status} in {lasted}{meant}; {lane}", level)


def _changes(told: ActivityHistory, measures: Measures, *, open_to: bool) -> Iterator[Entry]:
    ordered = sorted(told.changes, key=lambda change: change.id)
    for (at, cause), group in groupby(ordered, key=lambda change: (change.changed_at, change.cause)):
        kind, _, event = cause.partition(":")
        why = "after an event" if event else WHY.get(kind, cause)
        changes = list(group)
        for change in changes:
            if change.field == "sync_status":
                text, level = _turned(change)
                yield Entry(at, text, level=level, event=event, because=why)
        rest = [change for change in changes if change.field != "sync_status"]
        if rest:
            fields = tuple(_changed(change, told, measures, open_to=open_to) for change in rest)
            yield Entry(at, "Changed", level="live", event=event, because=why, fields=fields)


def _turned(change: Change) -> tuple[str, str]:
    if _value(change.new_value) == "deleted":
        return "Deleted here: only its number stays", "warn"
    return ("First stored here" if _value(change.old_value) is None else "It is back"), "good"


def _changed(change: Change, told: ActivityHistory, measures: Measures, *, open_to: bool) -> Changed:
    label = FIELDS.get(change.field, change.field.replace("_", " "))
    if not open_to or change.field in OPAQUE:
        return Changed(label)
    old, new = (
        _shown(change.field, _value(raw), told, measures) for raw in (change.old_value, change.new_value)
    )
    return Changed(label, old, new)


def _value(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


def _shown(field: str, value: Any, told: ActivityHistory, measures: Measures) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field == "gear_id":
        return told.gear_names.get(value, str(value))
    if field in ("sport_type", "type"):
        return sport(value)
    if field in ("moving_time", "elapsed_time"):
        return clock_time(value) or "0:00"
    if isinstance(value, (int, float)):
        measure = _measure(field, measures)
        return measure.text(value) if measure else f"{value:g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _measure(field: str, measures: Measures) -> Measure | None:
    kinds = {
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
    return kinds.get(field)


def _states(told: ActivityHistory, *, open_to: bool) -> Iterator[Entry]:
    one, held = told.activity, told.streams
    if one is not None and not any(change.changed_at == one.created_at for change in told.changes):
        yield Entry(one.created_at, "First stored here", level="good")
    if held is None:
        return
    if held.state == "present":
        # How many there are would tell how long it took.
        size = f"{held.samples:,} samples of {len(held.channels)} channels" if open_to else ""
        yield Entry(held.fetched_at, "Streams stored", size, "good")
    elif held.state == "absent":
        yield Entry(held.fetched_at, "There are no streams", "as Strava has it")
    elif not held.samples:
        yield Entry(held.fetched_at, "No streams yet", "Strava is still making them", "warn")


def _next(job: Job, now: datetime) -> Entry:
    """What a job that lives, or was given up, means for the activity."""
    what = KINDS[job.kind].short_label
    lane = LANES.get(job.lane, job.lane).lower()
    if job.state == "dead":
        text, tries = f"Given up asking for {what}", count(job.attempts, "attempt")
        return Entry(job.updated_at, text, f"after {tries}", "bad", retry=job.id)
    if job.state == "running":
        return Entry(now, f"Being asked for {what} now", lane, "live", is_ahead=True)
    if job.due_at > now:
        why = job.last_error or ("a later look" if job.cause == "recheck" else lane)
        return Entry(job.due_at, f"Strava will be asked for {what} again", why, is_ahead=True)
    return Entry(now, f"Waits for its turn to ask for {what}", lane, "live", is_ahead=True)
