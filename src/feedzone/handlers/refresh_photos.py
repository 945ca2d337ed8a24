"""An activity's photos: an optional part. Nothing waits for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.effect import StorePhotos
from ..domain.freshness import next_photo_recheck
from ..domain.job import Job, Lane
from ..domain.outcome import Done, Outcome
from ..domain.photos import Photo, StoredPhotos, photos_refresh
from ..errors import NotVisible, StravaError
from ..ports import Clock, HandlerReads, StravaApi
from .failures import optional_ending


@dataclass(frozen=True)
class RefreshPhotos:
    """Handles `refresh_photos`. With `enabled` (FETCH_PHOTOS) off, queued jobs end without a call."""

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random
    max_attempts: int
    enabled: bool

    async def __call__(self, job: Job) -> Outcome:
        stored = await self.records.stored_photos(job.object_id) if self.enabled else None
        if stored is None:
            return Done()  # switched off, or the activity is gone
        try:
            photos = await self.api.photos(job.athlete_id, job.object_id)
        except NotVisible:
            photos = ()
        except StravaError as error:
            return optional_ending(
                error,
                job,
                self.clock.now(),
                self.rng,
                max_attempts=self.max_attempts,
                instead=lambda reason: self._ask_later(job, stored, reason),
            )
        return self._judge(job, stored, photos)

    def _ask_later(self, job: Job, stored: StoredPhotos, reason: str) -> Done:
        """Leave the photos as they are, since Strava has said nothing about them; ask again for a day."""
        now = self.clock.now()
        again = next_photo_recheck(stored.asked_at or now, now)
        if again is None:
            return Done(note=reason)
        pending = StorePhotos(job.object_id, job.athlete_id, "pending")
        recheck = photos_refresh(job.athlete_id, job.object_id, Lane.RECHECK, again)
        return Done((pending,), reason, (recheck,))

    def _judge(
        self, job: Job, stored: StoredPhotos, photos: Sequence[Photo], note: str | None = None
    ) -> Done:
        """Store the photos if all are real. Otherwise ask again for a day, and then store the real ones."""
        real = [photo.raw for photo in photos if photo.real]
        present = StorePhotos(job.object_id, job.athlete_id, "present", f"[{','.join(real)}]")
        if real and len(real) == len(photos):
            return Done((present,))
        now = self.clock.now()
        again = next_photo_recheck(stored.asked_at or now, now)
        if again is not None:
            pending = StorePhotos(job.object_id, job.athlete_id, "pending")
            recheck = photos_refresh(job.athlete_id, job.object_id, Lane.RECHECK, again)
            return Done((pending,), note, (recheck,))
        if real:
            return Done((present,), note)
        last = StorePhotos(job.object_id, job.athlete_id, "present" if stored.stored else "absent")
        return Done((last,), note)
