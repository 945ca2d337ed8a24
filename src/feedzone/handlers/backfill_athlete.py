"""A backfill: list the window page by page; one job per activity does the rest."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec

from ..domain.activity import PER_PAGE
from ..domain.effect import FinishListing, StorePage
from ..domain.job import BackfillHint, Job, Lane, backfill_job
from ..domain.outcome import Continue, Done, Outcome
from ..errors import StravaError
from ..ports import Clock, StravaApi
from .failures import ending

FRESH_S = 60
"""Seconds after which the list may have moved: then the previous page is listed again before the next."""


@dataclass(frozen=True)
class BackfillAthlete:
    """Handles `backfill_athlete`: a page a run. The cursor commits with the page's rows and jobs.

    Pages are numbered, so a deletion on an earlier page moves later activities to the page before. After a
    pause (a spent window, a restart, an outage) the previous page is listed again, once, to find them.
    """

    api: StravaApi
    clock: Clock
    rng: random.Random

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, BackfillHint)
        now = int(self.clock.now().timestamp())
        again = hint.listed_at is not None and now - hint.listed_at > FRESH_S
        page_number = hint.page - 1 if again else hint.page
        try:
            records = await self.api.activities(
                job.athlete_id, after=hint.after, before=hint.before, page=page_number, per_page=PER_PAGE
            )
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        if not records:
            # Only an empty page is the end: after a short page there may be more.
            return Done((FinishListing(job.athlete_id),))
        activities = tuple(record for record in records if record.athlete_id == job.athlete_id)
        jobs = tuple(backfill_job(r.athlete_id, r.id, r.start_date, manual=r.manual) for r in activities)
        page = StorePage(job.athlete_id, activities, jobs, again)
        # Without a time, this page is not listed a second time, even if the next page waits for a window.
        total, listed_at = (hint.found, None) if again else (hint.found + len(activities), now)
        rest = msgspec.structs.replace(hint, page=page_number + 1, found=total, listed_at=listed_at)
        # A person waits for the first page. The others go before the activities: one call shows 200 of them.
        return Continue((page,), rest, Lane.BACKFILL)
