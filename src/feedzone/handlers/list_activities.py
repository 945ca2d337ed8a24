"""Many activities were announced at once: one list call shows them before each is fetched."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..domain.activity import LIST_AHEAD, PER_PAGE
from ..domain.effect import StoreAnnounced
from ..domain.job import Job
from ..domain.outcome import Done, Outcome, Snooze
from ..domain.reconciliation import refresh
from ..errors import StravaError
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending
from .unproven import SHARE_SPENT


@dataclass(frozen=True)
class ListActivities:
    """Handles `list_activities`. It is optional: after a failure, the jobs of the activities do the work."""

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random

    async def __call__(self, job: Job) -> Outcome:
        now = self.clock.now()
        spent = await self.records.fruitless_calls(job.athlete_id)
        if (again := spent.next_call(now, for_list=True)) is not None:
            return Snooze(again, SHARE_SPENT, wait_reason="unproven")
        try:
            # With `before` Strava lists the newest first (docs/strava-api.md#resources).
            listed = await self.api.activities(
                job.athlete_id,
                after=None,
                before=int((now + LIST_AHEAD).timestamp()),
                page=1,
                per_page=PER_PAGE,
            )
        except StravaError as error:
            outcome = ending(error, job, now, self.rng)
            waits = isinstance(outcome, Snooze) and outcome.wait_reason != "no_answer"
            return outcome if waits else Done(note=f"not listed: {error}")
        activities = tuple(record for record in listed if record.athlete_id == job.athlete_id)
        jobs = tuple(refresh(job.athlete_id, record.id, manual=record.manual) for record in activities)
        return Done((StoreAnnounced(job.athlete_id, activities, jobs),))
