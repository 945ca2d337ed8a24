"""Photos: which of those that Strava lists are real, and the job that asks for them (pain 22)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from .effect import PhotoState
from .job import JobSpec, Lane, PlainHint
from .job_kinds import job_key


class Photo(msgspec.Struct, frozen=True):
    """One photo as Strava lists it."""

    raw: str
    """The JSON text as received."""
    urls: tuple[str, ...]
    """Empty when there were none, or when they could not be read."""
    flagged: bool = False
    """Strava itself calls it a placeholder."""

    @property
    def real(self) -> bool:
        """Until it is processed a photo is `.../assets/media/placeholder-photo@4x-<digest>.png`."""
        return (
            bool(self.urls)
            and not self.flagged
            and not any("placeholder" in url.lower() for url in self.urls)
        )


class StoredPhotos(msgspec.Struct, frozen=True):
    """What our database says of an activity's photos."""

    state: PhotoState
    asked_at: datetime | None
    """When Strava first answered, for as many photos as the activity has now."""
    stored: bool
    """Whether there are some, of now or of before."""


def photos_refresh(athlete_id: int, activity_id: int, lane: Lane, due: datetime) -> JobSpec:
    """Ask for the photos of an activity, behind the activities of that lane."""
    return JobSpec(
        kind="refresh_photos",
        key=job_key("refresh_photos", activity_id),
        athlete_id=athlete_id,
        hint=PlainHint(),
        hint_time=0,
        lane=lane,
        due_at=due,
    )
