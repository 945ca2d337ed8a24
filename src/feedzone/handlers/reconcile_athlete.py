"""Reconciliation: compare the stored activities with Strava's list, to find changes without an event."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from ..domain.absence import MASS_WITHIN, is_mass_deletion
from ..domain.activity import PER_PAGE, ActivityRecord
from ..domain.effect import Effect, OpenConflict, StoreReconciliation
from ..domain.instants import FIRST, LAST
from ..domain.job import Job, JobSpec, ReconcileHint
from ..domain.outcome import Continue, Done, Outcome
from ..domain.reconciliation import BEGINNING, confirm_deletion, look_at, refresh
from ..errors import StravaError
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending

EDGE = timedelta(hours=1)
"""Activities this close to the window's start may leave the list while it is read."""

FEW_LOOKS, LOOKED_AT = 10, timedelta(hours=20)
"""How many activities of odd dates are fetched a day, and how old the last fetch of each must be."""

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
        looks = await self._looks(job.athlete_id, seen, hint)
        effects = await self._effects(job.athlete_id, listed, missing, calls, hint, looks, last=last)
        if last:
            return Done(effects)
        rest = int((after + EDGE).timestamp())
        missed = hint.missing + len(missing)
        return Continue(effects, msgspec.structs.replace(hint, before=rest, missing=missed))

    async def _slice(
        self, athlete_id: int, hint: ReconcileHint, now: datetime
    ) -> tuple[datetime, datetime | None, list[int]]:
        """Return start and end of this run's list, and the stored ids in it, without its edges.

        The first run's list has no end: a device's clock may be wrong by years. That run takes at least the
        usual days, and a later one at least a day.
        """
        first = hint.before is None
        end = LAST if hint.before is None else _at(hint.before)
        latest = now - timedelta(days=hint.days) if first else end - DAY
        after = latest if hint.since is None else _at(hint.since)
        after = min(after, latest) if first else after
        if not hint.full:
            return after, None, []
        stored = await self.records.stored_between(athlete_id, _edge(after), end)
        while len(stored) > SLICE and after < latest:
            after = latest if first else min(latest, after + (end - after) / 2)
            stored = await self.records.stored_between(athlete_id, _edge(after), end)
        return after, None if first else end + EDGE, stored

    async def _list(
        self,
        athlete_id: int,
        after: datetime,
        before: datetime | None,
        hint: ReconcileHint,
        stored: set[int],
    ) -> tuple[list[ActivityRecord], int]:
        """List the window's pages until an empty or a last one; without `full`, the latest page only.

        Without an end, Strava lists the oldest first, unless there is no start either
        (docs/strava-api.md#resources).
        """
        listed: dict[int, ActivityRecord] = {}
        page = 0
        while True:
            page += 1
            records = await self.api.activities(
                athlete_id,
                after=(int(after.timestamp()) or None) if hint.full else None,
                before=None if before is None else int(before.timestamp()),
                page=page,
                per_page=PER_PAGE,
            )
            listed |= {record.id: record for record in records if record.athlete_id == athlete_id}
            unchanged = len(records) < PER_PAGE and listed.keys() == stored and not hint.to_end
            if not records or unchanged or not hint.full:
                return list(listed.values()), page

    async def _looks(self, athlete_id: int, seen: set[int], hint: ReconcileHint) -> tuple[JobSpec, ...]:
        """Return fetches of activities whose date no list covers, a few each day."""
        if not (hint.full and hint.to_end and hint.before is None):
            return ()
        before = self.clock.now() - LOOKED_AT
        outside = await self.records.stored_outside(athlete_id, before, FEW_LOOKS)
        return tuple(look_at(athlete_id, number) for number in outside if number not in seen)

    async def _effects(
        self,
        athlete_id: int,
        listed: list[ActivityRecord],
        missing: list[int],
        calls: int,
        hint: ReconcileHint,
        looks: tuple[JobSpec, ...],
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
            looks=looks,
        )
        return (reconciliation, *conflicts)


def _edge(after: datetime) -> datetime:
    """Return where the stored activities of a list begin that starts there."""
    return FIRST if after <= BEGINNING else after + EDGE


def _at(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
