"""Compare what we hold with what Strava lists: finds what no event told (pains 14, 18, 50, 52)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..domain.activity import FUTURE, PER_PAGE, ActivityRecord
from ..domain.comparison import confirm_deletion, refresh
from ..domain.effect import Effect, OpenConflict, StoreSweep
from ..domain.job import Job, ReconcileHint
from ..domain.outcome import Done, Outcome
from ..errors import StravaError
from ..ports import Clock, Records, StravaApi
from .failures import ending

EDGE = timedelta(hours=1)
"""Activities this near to the window's start may fall out of the list while it is read."""

FEW = 3
SHARE = 0.05
"""More than FEW missing activities that are more than this share of all we hold: a person decides."""


@dataclass(frozen=True)
class ReconcileAthlete:
    """Handles `reconcile_athlete`. A list that fails half way is as good as none: nothing is concluded."""

    api: StravaApi
    records: Records
    clock: Clock
    rng: random.Random

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, ReconcileHint)
        began = self.clock.now()
        after, before = began - timedelta(days=hint.days), began + FUTURE
        # Read before the list: what appears in our rows while we list is not missing from it.
        held = await self.records.held_between(job.athlete_id, after + EDGE, before) if hint.full else []
        try:
            listed, calls = await self._list(job.athlete_id, after, before, hint, set(held))
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        seen = {record.id for record in listed}
        missing = [number for number in held if number not in seen]
        return Done(await self._effects(job.athlete_id, listed, missing, calls, full=hint.full))

    async def _list(
        self, athlete_id: int, after: datetime, before: datetime, hint: ReconcileHint, held: set[int]
    ) -> tuple[list[ActivityRecord], int]:
        """The window's pages until an empty one, or one that may be the last; or the latest page alone."""
        listed: dict[int, ActivityRecord] = {}
        page = 0
        while True:
            page += 1
            found = await self.api.activities(
                athlete_id,
                after=int(after.timestamp()),
                before=int(before.timestamp()),
                page=page,
                per_page=PER_PAGE,
            )
            listed |= {record.id: record for record in found if record.athlete_id == athlete_id}
            unchanged = len(found) < PER_PAGE and listed.keys() == held and not hint.to_end
            if not found or unchanged or not hint.full:
                return list(listed.values()), page

    async def _effects(
        self, athlete_id: int, listed: list[ActivityRecord], missing: list[int], calls: int, *, full: bool
    ) -> tuple[Effect, ...]:
        doubt: tuple[Effect, ...] = ()
        if len(missing) > FEW:
            held = await self.records.held_count(athlete_id)
            if len(missing) > SHARE * held:
                doubt, missing = (OpenConflict(athlete_id, tuple(missing), held),), []
        sweep = StoreSweep(
            athlete_id,
            full,
            tuple(listed),
            tuple(refresh(athlete_id, record.id) for record in listed),
            tuple(confirm_deletion(athlete_id, number) for number in missing),
            calls,
            doubtful=bool(doubt),
        )
        return (sweep, *doubt)
