"""Photos: which of the listed ones are real (docs/strava-api.md#resources), and the job for them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from .effect import PhotoState
from .job import JobSpec, Lane, PlainHint
from .job_kinds import job_key


class Photo(msgspec.Struct, frozen=True):
    """One photo as Strava lists it."""

    raw: str
    """The JSON text as received, repaired where some decoder could not read it."""
    urls: tuple[str, ...]
    """Empty when the entry has none, or none that can be read."""
    flagged: bool = False
    """Whether Strava marks it as a placeholder."""

    @property
    def real(self) -> bool:
        """Whether Strava has processed it.

        Until then the URL is `.../assets/media/placeholder-photo@4x-<digest>.png`.
        """
        return (
            bool(self.urls)
            and not self.flagged
            and not any("placeholder" in url.lower() for url in self.urls)
        )


class StoredPhotos(msgspec.Struct, frozen=True):
    """The state of an activity's photos in our database."""

    state: PhotoState
    asked_at: datetime | None
    """When Strava first answered since the activity has its present number of photos."""
    stored: bool
    """Whether any photos are stored, including those of an earlier response."""


def photos_refresh(athlete_id: int, activity_id: int, lane: Lane, due: datetime) -> JobSpec:
    """Fetch the photos of an activity; within its lane the job runs after those for activities."""
    return JobSpec(
        kind="refresh_photos",
        key=job_key("refresh_photos", activity_id),
        athlete_id=athlete_id,
        hint=PlainHint(),
        hint_time=0,
        lane=lane,
        due_at=due,
    )
