"""A first sync, or a longer history: list the window page by page; one job an activity does the rest."""

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


@dataclass(frozen=True)
class BackfillAthlete:
    """Handles `backfill_athlete`: a page a run. The cursor commits with the page's rows and jobs."""

    api: StravaApi
    clock: Clock
    rng: random.Random

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, BackfillHint)
        try:
            records = await self.api.activities(
                job.athlete_id, after=hint.after, before=hint.before, page=hint.page, per_page=PER_PAGE
            )
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        if not records:
            # Only an empty page is the end: a short one may be followed by more (pain 51).
            return Done((FinishListing(job.athlete_id),))
        mine = tuple(record for record in records if record.athlete_id == job.athlete_id)
        page = StorePage(
            job.athlete_id, mine, tuple(backfill_job(r.athlete_id, r.id, r.start_date) for r in mine)
        )
        rest = msgspec.structs.replace(hint, page=hint.page + 1, found=hint.found + len(mine))
        # The first page, somebody waits for. The others go before the activities: a call shows 200 of them.
        return Continue((page,), rest, Lane.BACKFILL)
