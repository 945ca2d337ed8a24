"""Labels for Strava's scopes: the data that each one allows, and the loss without it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...domain.athlete import REQUESTED_SCOPES


@dataclass(frozen=True)
class Scope:
    """`label`: the data it allows. `missing`: a sentence about the loss without it."""

    name: str
    label: str
    missing: str
    granted: bool = False


LABELS = {
    "read": ("public profile with the name", "Strava gives only the id of the profile."),
    "activity:read": (
        "activities visible to everyone or to followers",
        "Without an activity permission, no activities are synced.",
    ),
    "activity:read_all": (
        "private activities, and starts inside privacy zones",
        "Private activities are not synced, and an activity made private is deleted here.",
    ),
    "profile:read_all": ("bikes and shoes with their distances", "Bikes and shoes are not synced."),
}


def scopes(granted: Collection[str]) -> list[Scope]:
    """Return the scopes that feedzone requests, in the order of the request."""
    return [Scope(name, *LABELS[name], granted=_has(name, granted)) for name in REQUESTED_SCOPES]


def _has(name: str, granted: Collection[str]) -> bool:
    # Strava grants activity:read_all alone; it includes activity:read.
    return name in granted or (name == "activity:read" and "activity:read_all" in granted)
