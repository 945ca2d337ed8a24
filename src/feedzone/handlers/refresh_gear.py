"""An athlete's bikes and shoes, from the profile: activities do not show unused ones."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..domain.effect import StoreGear
from ..domain.job import Job
from ..domain.outcome import Done, Outcome
from ..errors import StravaError
from ..ports import Clock, StravaApi
from .failures import optional_ending


@dataclass(frozen=True)
class RefreshGear:
    """Handles `refresh_gear`. After a final failure the gear is fetched again the next day."""

    api: StravaApi
    clock: Clock
    rng: random.Random
    max_attempts: int

    async def __call__(self, job: Job) -> Outcome:
        try:
            listing = await self.api.gear(job.athlete_id)
        except StravaError as error:
            return optional_ending(
                error,
                job,
                self.clock.now(),
                self.rng,
                max_attempts=self.max_attempts,
                instead=lambda reason: Done(note=f"gear is left as it was: {reason}"),
            )
        if listing.athlete_id != job.athlete_id:
            return Done(note=f"gear is left as it was: the profile is that of athlete {listing.athlete_id}")
        return Done((StoreGear(listing),))
