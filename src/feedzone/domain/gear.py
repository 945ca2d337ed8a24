"""Bikes and shoes as an athlete's profile lists them, and the job that fetches them."""

from __future__ import annotations

from typing import Literal

import msgspec

from .job import JobSpec, Lane, PlainHint, athlete_key

GearKind = Literal["bike", "shoe"]

GEAR_SCOPE = "profile:read_all"
"""Without this scope the profile is a summary, which has no gear (docs/strava-api.md#resources)."""


class GearRecord(msgspec.Struct, frozen=True):
    """A bike (`b...`) or a pair of shoes (`g...`). A field is None where Strava sent no value."""

    id: str
    kind: GearKind
    name: str | None
    nickname: str | None
    is_primary: bool | None
    retired: bool | None
    distance: float | None
    """Metres."""
    raw: str
    """The JSON text as received, repaired where some decoder could not read it."""


class GearListing(msgspec.Struct, frozen=True):
    """The gear that a profile lists. None for a kind means unknown, which is not the same as empty."""

    athlete_id: int
    bikes: tuple[GearRecord, ...] | None = None
    shoes: tuple[GearRecord, ...] | None = None

    @property
    def kinds(self) -> tuple[GearKind, ...]:
        """The kinds that the profile listed, possibly with no items."""
        by_kind: tuple[tuple[GearKind, object], ...] = (("bike", self.bikes), ("shoe", self.shoes))
        return tuple(kind for kind, items in by_kind if items is not None)

    @property
    def items(self) -> tuple[GearRecord, ...]:
        return (*(self.bikes or ()), *(self.shoes or ()))


def gear_refresh(athlete_id: int) -> JobSpec:
    """Fetch the athlete's gear, in a lane behind all the work that a person may be waiting for."""
    return JobSpec(
        kind="refresh_gear",
        key=athlete_key(athlete_id),
        athlete_id=athlete_id,
        hint=PlainHint(),
        hint_time=0,
        lane=Lane.RECHECK,
    )
