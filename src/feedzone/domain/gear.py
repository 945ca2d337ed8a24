"""Bikes and shoes: what an athlete's profile says of them, and when it is asked for."""

from __future__ import annotations

from typing import Literal

import msgspec

from .job import JobSpec, Lane, PlainHint, athlete_key

GearKind = Literal["bike", "shoe"]

GEAR_SCOPE = "profile:read_all"
"""Without it the profile is a summary, which has no gear (contract section 6)."""


class GearRecord(msgspec.Struct, frozen=True):
    """A bike (`b...`) or a pair of shoes (`g...`). None: Strava did not say."""

    id: str
    kind: GearKind
    name: str | None
    nickname: str | None
    is_primary: bool | None
    retired: bool | None
    distance: float | None
    """Metres."""
    raw: str
    """The JSON text as received."""


class GearListing(msgspec.Struct, frozen=True):
    """The gear that a profile lists. A kind that is None was not told, which is not the same as empty."""

    athlete_id: int
    bikes: tuple[GearRecord, ...] | None = None
    shoes: tuple[GearRecord, ...] | None = None

    @property
    def kinds(self) -> tuple[GearKind, ...]:
        """The kinds that were told."""
        told: tuple[tuple[GearKind, object], ...] = (("bike", self.bikes), ("shoe", self.shoes))
        return tuple(kind for kind, items in told if items is not None)

    @property
    def items(self) -> tuple[GearRecord, ...]:
        return (*(self.bikes or ()), *(self.shoes or ()))


def gear_refresh(athlete_id: int) -> JobSpec:
    """Ask for the athlete's gear. It waits for everything that somebody waits for."""
    return JobSpec(
        kind="refresh_gear",
        key=athlete_key(athlete_id),
        athlete_id=athlete_id,
        hint=PlainHint(),
        hint_time=0,
        lane=Lane.RECHECK,
    )
