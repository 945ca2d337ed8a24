"""Reconciliation: compare the stored activities with Strava's list, to find changes without an event."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from ..domain.absence import MASS_WITHIN, is_mass_deletion
from ..domain.activity import LIST_AHEAD, PER_PAGE, ActivityRecord
from ..domain.effect import Effect, OpenConflict, StoreReconciliation
from ..domain.job import Job, ReconcileHint
from ..domain.outcome import Continue, Done, Outcome
from ..domain.reconciliation import confirm_deletion, refresh
from ..errors import StravaError
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending

EDGE = timedelta(hours=1)
"""Activities this close to the window's start may leave the list while it is read."""

SLICE = 3 * PER_PAGE
"""Stored activities compared in one run, at most: its calls must fit into a window."""

DAY = timedelta(days=1)


@dataclass(frozen=True)
class ReconcileAthlete:
    """Handles `reconcile_athlete`. A list that fails half way leads to no conclusion.

    A long window is compared slice by slice, newest first, one run each; the cursor commits with each.
    """

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, ReconcileHint)
        # Read our rows before the list: a row that appears meanwhile is not missing from the list.
        after, before, stored = await self._slice(job.athlete_id, hint, self.clock.now())
        try:
            listed, calls = await self._list(job.athlete_id, after, before, hint, set(stored))
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        seen = {record.id for record in listed}
        missing = [number for number in stored if number not in seen]
        last = hint.since is None or after <= _at(hint.since)
        effects = await self._effects(job.athlete_id, listed, missing, calls, hint, last=last)
        if last:
            return Done(effects)
        rest = int((after + EDGE).timestamp())
        missed = hint.missing + len(missing)
        return Continue(effects, msgspec.structs.replace(hint, before=rest, missing=missed))

    async def _slice(
        self, athlete_id: int, hint: ReconcileHint, now: datetime
    ) -> tuple[datetime, datetime, list[int]]:
        """Return start and end of this run's list, and the stored ids in it, without its edges.

        The first run takes at least the usual days, and a later one at least a day.
        """
        first = hint.before is None
        end = now + LIST_AHEAD if hint.before is None else _at(hint.before)
        latest = now - timedelta(days=hint.days) if first else end - DAY
        after = latest if hint.since is None else _at(hint.since)
        after = min(after, latest) if first else after
        if not hint.full:
            return after, end, []
        stored = await self.records.stored_between(athlete_id, after + EDGE, end)
        while len(stored) > SLICE and after < latest:
            after = latest if first else min(latest, after + (end - after) / 2)
            stored = await self.records.stored_between(athlete_id, after + EDGE, end)
        return after, end if first else end + EDGE, stored

    async def _list(
        self, athlete_id: int, after: datetime, before: datetime, hint: ReconcileHint, stored: set[int]
    ) -> tuple[list[ActivityRecord], int]:
        """List the window's pages until an empty or a last one; without `full`, the latest page only."""
        listed: dict[int, ActivityRecord] = {}
        page = 0
        while True:
            page += 1
            records = await self.api.activities(
                athlete_id,
                after=int(after.timestamp()) or None,
                before=int(before.timestamp()),
                page=page,
                per_page=PER_PAGE,
            )
            listed |= {record.id: record for record in records if record.athlete_id == athlete_id}
            unchanged = len(records) < PER_PAGE and listed.keys() == stored and not hint.to_end
            if not records or unchanged or not hint.full:
                return list(listed.values()), page

    async def _effects(
        self,
        athlete_id: int,
        listed: list[ActivityRecord],
        missing: list[int],
        calls: int,
        hint: ReconcileHint,
        *,
        last: bool,
    ) -> tuple[Effect, ...]:
        conflicts: tuple[Effect, ...] = ()
        missed = hint.missing + len(missing)
        if missing:
            # Missing activities that a fetch has confirmed lately count, too.
            deleted = await self.records.found_deleted(athlete_id, self.clock.now() - MASS_WITHIN)
            count = await self.records.stored_count(athlete_id)
            if is_mass_deletion(missed + deleted, count + deleted):
                conflicts, missing = (OpenConflict(athlete_id, tuple(missing), count),), []
        reconciliation = StoreReconciliation(
            athlete_id,
            hint.full,
            tuple(listed),
            tuple(refresh(athlete_id, record.id, manual=record.manual) for record in listed),
            tuple(confirm_deletion(athlete_id, number) for number in missing),
            calls,
            last=last,
            latest=hint.before is None,
            everything=hint.everything,
        )
        return (reconciliation, *conflicts)


def _at(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
