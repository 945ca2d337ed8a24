"""Judge a 404 of Strava's own about an activity: not ready yet, gone, or still listed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from ..domain.absence import (
    MASS_WITHIN,
    SECOND_LOOK,
    AbsenceTracker,
    is_mass_deletion,
    next_look,
    next_look_at_listed,
)
from ..domain.activity import LIST_AHEAD, PER_PAGE, StoredActivity
from ..domain.availability import SHOWN_AFTER, AvailabilityTracker
from ..domain.backoff import NOT_READY_FIRST_S, not_ready_delay_s
from ..domain.effect import OpenConflict, Tombstone
from ..domain.job import Job, RefreshHint
from ..domain.outcome import Done, Outcome, Snooze
from ..errors import NotVisible, StravaError
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending

AROUND = timedelta(hours=1)
"""A list of this much time around an activity's start shows whether it exists."""

LISTING = ("reconciliation", "backfill")
"""The causes of jobs for activities that a list has shown."""


@dataclass(frozen=True)
class MissingActivity:
    """Decides about activities that answer 404. Only a list that lacks one too makes it a tombstone."""

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random
    second_look: timedelta = SECOND_LOOK
    shown: AvailabilityTracker = field(default_factory=AvailabilityTracker)
    absences: AbsenceTracker = field(default_factory=AbsenceTracker)

    async def judge(self, job: Job, hint: RefreshHint, absent: NotVisible) -> Outcome:
        """Return how the job ends or goes on after the 404 `absent`.

        The activity is not ready yet if an event has just announced it, or a list has just shown it. It is
        gone if it was stored or a delete was announced, and a second look and a list confirm that.
        """
        stored, now = await self.records.stored_activity(job.object_id), self.clock.now()
        if hint.action == "delete" and hint.verified:
            return Done((Tombstone(job.object_id, job.athlete_id, hint.cause, job.hint_time),))
        first = hint.missing_since is None
        if first:
            hint = msgspec.structs.replace(hint, missing_since=int(now.timestamp()))
        live = stored if stored is not None and stored.live else None
        delay = self._not_ready_for(job, hint, live)
        known = hint.action == "delete" or live or hint.cause in LISTING
        if known and (delay is None or not live):
            return await self._missing(job, hint, live, first=first)
        if not (hint.announced or live):
            return Done(note="not_visible")
        if not live and stored is not None and (stored.last_event_time or 0) > job.hint_time:
            return Done(note="not_visible: a newer event says that it was deleted")
        if hint.announced and now < job.first_received_at + SHOWN_AFTER:
            self.shown.missed(job.object_id)
        if delay is not None:
            return Snooze(now + timedelta(seconds=delay), f"not ready: {absent}", hint=hint)
        return await self._give_up(job, hint)

    def _not_ready_for(self, job: Job, hint: RefreshHint, live: StoredActivity | None) -> float | None:
        """Return the seconds until a new activity may be ready; None if it is not new any more."""
        if hint.action == "delete" or (live and (live.detailed or hint.cause == "backfill")):
            return None
        since = live.first_seen if live and live.first_seen else job.first_received_at
        now = self.clock.now()
        delay = not_ready_delay_s((now - since).total_seconds())
        missing_for = (now - _since(hint)).total_seconds()
        return None if delay is None else min(delay, max(NOT_READY_FIRST_S, missing_for))

    async def _missing(
        self, job: Job, hint: RefreshHint, live: StoredActivity | None, *, first: bool
    ) -> Outcome:
        """Bury the activity after a second 404, unless a list shows it or many are missing."""
        now, since = self.clock.now(), None if first else _since(hint)
        self.absences.note_missing(job.athlete_id)
        claimed = hint.action == "delete"
        again = next_look(since, now, self.second_look, outage=self.absences.outage, claimed=claimed)
        if again is not None:
            return Snooze(again, "Strava answers 404 about the activity: a second look decides", hint=hint)
        by_list = claimed and hint.cause == "reconciliation"
        if not by_list:  # a list has just lacked it
            try:
                if await self._is_listed(job, live):
                    return self._still_listed(hint)
            except StravaError as error:
                return self._unknown(job, hint, error)
        if live is None and not claimed:
            return Done(note="not_visible")
        if claimed and not by_list:
            return Done((Tombstone(job.object_id, job.athlete_id, hint.cause, job.hint_time),))
        return await self._bury_unclaimed(job)

    async def _give_up(self, job: Job, hint: RefreshHint) -> Outcome:
        """End the job of an announced activity that never became visible, unless a list shows it."""
        try:
            if await self._is_listed(job, None):
                return self._still_listed(hint)
        except StravaError as error:
            return self._unknown(job, hint, error)
        return Done(note="not_visible: Strava does not show us this activity")

    def _still_listed(self, hint: RefreshHint) -> Snooze:
        until = next_look_at_listed(_since(hint), self.clock.now())
        return Snooze(until, "Strava answers 404 about an activity that its list shows", hint=hint)

    def _unknown(self, job: Job, hint: RefreshHint, error: StravaError) -> Outcome:
        outcome = ending(error, job, self.clock.now(), self.rng)
        return msgspec.structs.replace(outcome, hint=hint) if isinstance(outcome, Snooze) else outcome

    async def _bury_unclaimed(self, job: Job) -> Outcome:
        """Bury an activity that no delete event names, or let a person decide if many are missing."""
        now = self.clock.now()
        earlier = await self.records.found_deleted(job.athlete_id, now - MASS_WITHIN)
        count = await self.records.stored_count(job.athlete_id)
        if is_mass_deletion(earlier + 1, count + earlier):
            conflict = OpenConflict(job.athlete_id, (job.object_id,), count)
            return Done((conflict,), "not_visible: many activities are missing, so a person decides")
        return Done((Tombstone(job.object_id, job.athlete_id, "reconciliation"),))

    async def _is_listed(self, job: Job, live: StoredActivity | None) -> bool:
        """Ask whether the list shows the activity: around its start, or else among the newest."""
        started = live.started if live else None
        after = None if started is None else int((started - AROUND).timestamp())
        before = self.clock.now() + LIST_AHEAD if started is None else started + AROUND
        page = 0
        while True:
            page += 1
            records = await self.api.activities(
                job.athlete_id, after=after, before=int(before.timestamp()), page=page, per_page=PER_PAGE
            )
            if any(record.id == job.object_id for record in records):
                return True
            if not records or started is None:
                return False


def _since(hint: RefreshHint) -> datetime:
    assert hint.missing_since is not None
    return datetime.fromtimestamp(hint.missing_since, UTC)
