"""Decides what a viewer learns about athletes. Every value on its way to a template passes here.

Without the athlete's consent an operator learns that an activity exists and how its sync is going, and
nothing that Strava says about it (docs/strava-api.md#program-and-policy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from ...domain.activity_details import ActivityDetails
from ...domain.event import redacted
from ...queries.activities import Activity, Change
from ...queries.activity_history import ActivityHistory, StreamInfo
from ...queries.athletes import Athlete
from ...queries.events import ActivitySummary, Event, EventSummary
from ...store.schema.personal import HOLDINGS
from .access import Owned

MayView = Callable[[Owned], bool]

_WORDS = frozenset(HOLDINGS["strava_activities"].activity.split())


@dataclass(frozen=True)
class _Owner:
    """The owner of an event about nothing that is stored: nobody has agreed to show it."""

    athlete_id: int
    operator_may_see: bool = False


def disclosed(value: Any, may_view: MayView) -> Any:
    """Return the value without what the viewer may not learn, however deep it is in lists and structs."""
    match value:
        case ActivityHistory():
            return value if may_view(value) else _history(value)
        case EventSummary():
            return value if may_view_event(value, may_view) else _event_summary(value, may_view)
        case ActivitySummary():
            return value if may_view(value) else _without_words(value)
        case Athlete():
            return value if may_view(value) else structs.replace(value, idle_since=value.connected_at)
        case dict():
            return {key: disclosed(item, may_view) for key, item in value.items()}
        case Struct():
            return _struct(value, may_view)
    if type(value) in (list, tuple):
        return type(value)(disclosed(item, may_view) for item in value)
    return value


def may_view_event(summary: EventSummary, may_view: MayView) -> bool:
    """Return whether the viewer may read the event as received.

    A forged event can name an activity of somebody else, whose consent says nothing about its owner.
    """
    owner, activity = summary.event.owner_id, summary.activity
    if activity is not None and activity.athlete_id == owner:
        return may_view(activity)
    return may_view(_Owner(owner)) and (activity is None or may_view(activity))


def _struct(value: Struct, may_view: MayView) -> Struct:
    changed = {
        name: shown
        for name in value.__struct_fields__
        if (shown := disclosed(item := getattr(value, name), may_view)) is not item
        and not (isinstance(item, (list, tuple, dict)) and shown == item)
    }
    return structs.replace(value, **changed) if changed else value


def _without_words(activity: Any) -> Any:
    """Return an activity, or a summary of one, without the values that Strava says about it."""
    return structs.replace(activity, **dict.fromkeys(_WORDS & set(activity.__struct_fields__)))


def _event(event: Event) -> Event:
    return structs.replace(event, event_data=Raw(redacted(bytes(event.event_data).decode()).encode()))


def _event_summary(summary: EventSummary, may_view: MayView) -> EventSummary:
    return structs.replace(
        summary, event=_event(summary.event), activity=disclosed(summary.activity, may_view)
    )


def _history(file: ActivityHistory) -> ActivityHistory:
    activity: Activity | None = file.activity and _without_words(file.activity)
    return structs.replace(
        file,
        activity=activity,
        parts=ActivityDetails(),
        streams=file.streams and _streams(file.streams),
        gear_names={},
        events=[_event(event) for event in file.events],
        changes=[_change(change) for change in file.changes],
    )


def _streams(streams: StreamInfo) -> StreamInfo:
    """Return only whether there are streams: their number of samples gives away the duration."""
    return structs.replace(streams, channels=(), samples=min(streams.samples, 1))


def _change(change: Change) -> Change:
    """Return which field changed. Whether the activity is there is the state of its sync."""
    if change.field == "sync_status":
        return change
    return structs.replace(change, old_value=None, new_value=None)


def raw_text(event: Event) -> str:
    """Return the event's JSON, indented."""
    return msgspec.json.format(bytes(event.event_data), indent=2).decode()
