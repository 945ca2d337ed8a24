"""The kinds of jobs, and everything that the rest of feedzone needs to know of each.

To add a kind, add it to `JobKind` and to `KINDS`, and give it a handler in handlers/registry.py. Tests
compare the three. The queue, the forecast, the pages and the history of an activity read this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

JobKind = Literal[
    "refresh_activity",
    "revoke_athlete",
    "backfill_athlete",
    "reconcile_athlete",
    "refresh_gear",
    "refresh_photos",
    "list_activities",
]


class KindInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of job."""

    subject: Literal["activity", "athlete"]
    """What the Strava id in the job's key belongs to."""
    key_prefix: str
    """The part of the key before the id. Kinds with the same prefix lock each other's rows out."""
    label: str
    """The object of the request to Strava, in words for people: "Strava does not respond for <label>"."""
    short_label: str
    """The same beside its activity or athlete: "Fetching <short label> failed"."""
    calls: int = 1
    """Calls that a run makes, unless its hint says otherwise (job.calls_of)."""
    optional: bool = False
    """Whether feedzone can do without the result: such a job never becomes a dead letter."""
    in_backfill: bool = True
    """Whether a backfill is complete only after its jobs of this kind."""
    endpoints: Mapping[str, str] = {}
    """The calls about one activity that only this kind makes, in words: "Fetched <words>"."""
    setting: str | None = None
    """The setting that must be true for jobs of this kind (settings.py); None: they always run."""
    collects: str = ""
    """What the kind stores beyond the usual, in words for athletes who are about to connect."""


KINDS: Mapping[JobKind, KindInfo] = {
    "refresh_activity": KindInfo(
        subject="activity",
        key_prefix="activity",
        label="this activity",
        short_label="activity",
        calls=2,
        endpoints={
            "GET activities/{id}": "activity",
            "GET activities/{id}/streams": "streams",
        },
    ),
    "refresh_photos": KindInfo(
        subject="activity",
        key_prefix="photos",
        label="this activity's photos",
        short_label="photos",
        optional=True,
        in_backfill=False,
        endpoints={"GET activities/{id}/photos": "photos"},
        setting="fetch_photos",
        collects="Links to the photos of your activities.",
    ),
    "list_activities": KindInfo(
        subject="athlete",
        key_prefix="athlete",
        label="this athlete's activity list",
        short_label="activity list",
        optional=True,
    ),
    "reconcile_athlete": KindInfo(
        subject="athlete",
        key_prefix="athlete",
        label="this athlete's activity list",
        short_label="activity list",
    ),
    "backfill_athlete": KindInfo(
        subject="athlete",
        key_prefix="athlete",
        label="this athlete's activity list",
        short_label="activity list",
    ),
    "refresh_gear": KindInfo(
        subject="athlete",
        key_prefix="athlete",
        label="this athlete's bikes and shoes",
        short_label="gear",
        optional=True,
    ),
    "revoke_athlete": KindInfo(
        subject="athlete",
        key_prefix="athlete",
        label="the end of this athlete's access",
        short_label="access",
    ),
}


def job_key(kind: JobKind, object_id: int) -> str:
    """Return the key of the job of this kind for an activity or an athlete."""
    return f"{KINDS[kind].key_prefix}:{object_id}"


def enabled_kinds(settings: object) -> frozenset[JobKind]:
    """Return the kinds that these settings do not switch off."""
    return frozenset(
        kind for kind, info in KINDS.items() if info.setting is None or getattr(settings, info.setting)
    )


ACTIVITY_KINDS: tuple[JobKind, ...] = tuple(
    kind for kind, info in KINDS.items() if info.subject == "activity"
)
OUTSIDE_BACKFILL: tuple[JobKind, ...] = tuple(kind for kind, info in KINDS.items() if not info.in_backfill)
