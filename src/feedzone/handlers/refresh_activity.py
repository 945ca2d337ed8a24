"""Fetch the current state of a stale activity, and its streams."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from ..domain.absence import SECOND_LOOK
from ..domain.activity import ActivityRecord, StoredActivity
from ..domain.athlete import wants_details
from ..domain.availability import SHOWN_AFTER, STREAMED_WITHIN, AvailabilityTracker
from ..domain.effect import (
    AskForPhotos,
    Effect,
    KeepSummary,
    NoteFailure,
    RecordRejectedClaim,
    StoreDetail,
    StoreStreams,
    StreamState,
    Tombstone,
)
from ..domain.freshness import AFTER_CHANGE, Recheck, is_fresh, next_recheck, sooner, streams_may_come
from ..domain.job import Job, JobSpec, Lane, RefreshHint
from ..domain.job_kinds import JobKind
from ..domain.outcome import Discard, Done, Outcome, Retry, Snooze
from ..errors import InvalidInput, NotVisible, StravaError, TransientError
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending
from .missing_activity import MissingActivity
from .unproven import count_404, counted, wait_for_proof


class EncodedStreams(Protocol):
    """Streams in the stored form: one blob that describes itself."""

    @property
    def blob(self) -> bytes: ...
    @property
    def channels(self) -> Sequence[str]: ...
    @property
    def samples(self) -> int: ...


Encode = Callable[[bytes], Awaitable[EncodedStreams]]


class _Look(NamedTuple):
    """The facts known before the streams are requested."""

    since: datetime
    """When they were first asked for, as the activity is now, and were not there; else now."""
    expected: bool
    """Whether there should be some: the activity is fresh, or a device recorded it."""
    replaces: bool = False
    """Whether stored streams are of an earlier state of the activity."""


FORGED = "forged: the activity is alive at Strava; nothing was deleted"


@dataclass(frozen=True)
class RefreshActivity:
    """Handles `refresh_activity`."""

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random
    encode_streams: Encode
    enabled: frozenset[JobKind] = frozenset()
    """The kinds of jobs that the settings switch on."""
    second_look: timedelta = SECOND_LOOK
    shown: AvailabilityTracker = field(default_factory=AvailabilityTracker)
    streamed: AvailabilityTracker = field(default_factory=AvailabilityTracker)

    missing: MissingActivity = field(init=False)

    def __post_init__(self) -> None:
        missing = MissingActivity(
            self.api, self.records, self.clock, self.rng, self.second_look, shown=self.shown
        )
        object.__setattr__(self, "missing", missing)

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, RefreshHint)
        if hint.action == "delete":
            return await self._delete(job, hint)
        if hint.streams_only or hint.detail_version == job.version:
            return await self._streams_only(job, hint)
        return await self._refresh(job, hint)

    async def _delete(self, job: Job, hint: RefreshHint) -> Outcome:
        """Believe a delete if its signature proves it, or if no data would be lost (guarantee 3).

        A newer observation counts more: an activity that Strava has shown since survives a late delete.
        """
        stored = await self.records.stored_activity(job.object_id)
        if stored is not None and stored.athlete_id != job.athlete_id:
            return Done(
                (RecordRejectedClaim(hint.cause, "delete"),),
                f"forged: the activity belongs to athlete {stored.athlete_id}",
                about="delete",
            )
        if stored is None or not stored.live or (hint.verified and not _seen_since(stored, job.hint_time)):
            return Done((Tombstone(job.object_id, job.athlete_id, hint.cause, job.hint_time),))
        return await self._refresh(job, hint)

    async def _refresh(self, job: Job, hint: RefreshHint) -> Outcome:
        known = await self.records.known_activity(job.athlete_id, job.object_id, unproven=hint.unproven)
        sports, stored, spent = known
        if sports is not None and self._is_unwanted(job, hint, stored, sports):
            return Done((KeepSummary(job.object_id, job.athlete_id),), "its sport is not among the wanted")
        if self._is_too_early(job, hint, stored):
            return Snooze(
                job.first_received_at + SHOWN_AFTER, "not ready: lately no activity was, this early"
            )
        unknown = False
        if spent is not None:
            waits = wait_for_proof(job, hint, stored, spent, self.clock.now(), self.rng.random())
            if waits is not None:
                return waits
            unknown = stored is None or not stored.live
        try:
            record = await self.api.activity(job.athlete_id, job.object_id)
        except NotVisible as absent:
            outcome = await self.missing.judge(job, hint, absent)
            return count_404(job, hint, outcome, self.clock.now()) if unknown else outcome
        except StravaError as error:
            return self._failed(job, error)
        self.missing.absences.note_shown()
        if record.athlete_id != job.athlete_id:
            return Discard(
                f"activity {record.id} belongs to athlete {record.athlete_id}, not to {job.athlete_id}"
            )
        denied = hint.action == "delete" and hint.unproven
        claim = (RecordRejectedClaim(hint.cause, "delete"),) if denied else ()
        if not wants_details(sports, record.columns.get("sport_type")) and hint.cause != "request":
            return _done(claim, self._detail(job, hint, record, complete=True), *counted(job, hint))
        return await self._with_streams(job, hint, record, stored, claim)

    def _is_news(self, job: Job, hint: RefreshHint, within: timedelta) -> bool:
        """Whether an event has announced the activity just now."""
        announced = hint.action == "refresh" and hint.announced
        return announced and self.clock.now() < job.first_received_at + within

    def _is_too_early(self, job: Job, hint: RefreshHint, stored: StoredActivity | None) -> bool:
        """Whether Strava probably does not show the activity yet."""
        if not self._is_news(job, hint, SHOWN_AFTER) or self.shown.usual:
            return False
        return not _is_detailed(stored) and not self.shown.ask_at_once()

    def _is_unwanted(
        self, job: Job, hint: RefreshHint, stored: StoredActivity | None, sports: frozenset[str]
    ) -> bool:
        """Whether a summary newer than this job shows an unwanted sport."""
        if hint.cause == "request" or hint.action == "delete":
            return False
        if stored is None or not stored.live or stored.detailed or stored.first_seen is None:
            return False
        return stored.first_seen >= job.first_received_at and not wants_details(sports, stored.sport_type)

    async def _with_streams(
        self,
        job: Job,
        hint: RefreshHint,
        record: ActivityRecord,
        stored: StoredActivity | None,
        claim: tuple[Effect, ...],
    ) -> Outcome:
        """Fetch the streams, too. `stored`: the row before the call, which only this job changes."""
        first_seen = self._first_seen(stored, record.start_date, new=hint.of_something_new)
        if not _is_detailed(stored):
            self.shown.shown(job.object_id, early=self._is_news(job, hint, SHOWN_AFTER))
        counts = counted(job, hint)
        photos = self._photos(job, record)
        if record.manual or (_has_streams(stored, record) and hint.cause != "request"):
            detail = self._detail(job, hint, record, stored, complete=True)
            none = (StoreStreams(record.id, record.athlete_id, "absent"),) if record.manual else ()
            return _done(claim, detail, *none, *photos, *counts, then=self._later(job, first_seen))
        detail = self._detail(job, hint, record, stored, complete=False)
        look = self._look(stored, record, first_seen)
        try:
            streams = await self._streams_of(job, hint, stored, look)
        except StravaError as error:
            # The detail is not fetched twice: the next run goes on with the streams.
            rest = msgspec.structs.replace(hint, action="refresh", detail_version=job.version, fruitless=0)
            return _going_on(self._failed(job, error, (detail, *claim, *photos, *counts)), rest)
        later = self._later(job, first_seen, streams, look)
        return _done(claim, detail, streams, *photos, *counts, then=later)

    def _look(
        self, stored: StoredActivity | None, record: ActivityRecord | None, first_seen: datetime | None
    ) -> _Look:
        """Return the facts known before the streams are requested. `record`: the detail of this run."""
        now = self.clock.now()
        if stored is None:
            return _Look(now, first_seen is not None or (record is not None and record.recorded))
        current = stored.fingerprint if record is None else record.fingerprint
        # A changed activity gets all retries again.
        since = stored.streamless_since if current == stored.fingerprint else None
        recorded = stored.recorded if record is None else record.recorded
        old = stored.streams_fingerprint is not None and stored.streams_fingerprint != current
        return _Look(since or now, first_seen is not None or recorded, replaces=old)

    def _detail(
        self,
        job: Job,
        hint: RefreshHint,
        record: ActivityRecord,
        stored: StoredActivity | None = None,
        *,
        complete: bool,
    ) -> StoreDetail:
        received, happened = (job.first_received_at, job.hint_time) if hint.announced else (None, 0)
        unproven = hint.unproven and hint.action == "refresh" and _is_detailed(stored)
        return StoreDetail(record, hint.cause, received, complete, happened, unproven)

    async def _streams_of(
        self, job: Job, hint: RefreshHint, stored: StoredActivity | None, look: _Look
    ) -> StoreStreams:
        """Fetch the streams, or leave the call for later where new activities never have streams yet."""
        never_asked = stored is None or stored.stream_state is None
        first = never_asked and look.expected and self._is_news(job, hint, STREAMED_WITHIN)
        if first and not self.streamed.ask_at_once():
            return StoreStreams(job.object_id, job.athlete_id, "pending", streamless_since=look.since)
        streams = await self._fetch_streams(job, look)
        if first:
            self.streamed.note(ready=streams.state != "pending")
        return streams

    def _photos(self, job: Job, record: ActivityRecord) -> tuple[Effect, ...]:
        """Ask for photos in a job of their own, so that the activity never waits for them."""
        count = record.columns.get("total_photo_count")
        if "refresh_photos" not in self.enabled or not isinstance(count, int):
            return ()
        return (AskForPhotos(record.id, record.athlete_id, count, max(Lane.RECHECK, job.lane)),)

    async def _streams_only(self, job: Job, hint: RefreshHint) -> Outcome:
        stored = await self.records.stored_activity(job.object_id)
        if stored is None or not stored.live:
            return Done()
        first_seen = self._first_seen(stored, stored.started, new=hint.of_something_new)
        look = self._look(stored, None, first_seen)
        try:
            streams = await self._fetch_streams(job, look)
        except StravaError as error:
            return _going_on(self._failed(job, error), hint)
        return Done((streams,), then=self._later(job, first_seen, streams, look))

    def _first_seen(
        self, stored: StoredActivity | None, started: datetime | None, *, new: bool
    ) -> datetime | None:
        """Return when the activity was first seen, if edits and streams may still come."""
        now = self.clock.now()
        first_seen = stored.first_seen if stored is not None and stored.live and stored.first_seen else now
        new = new or (stored is not None and stored.announced)
        return first_seen if is_fresh(first_seen, started, new=new, now=now) else None

    def _later(
        self,
        job: Job,
        first_seen: datetime | None,
        streams: StoreStreams | None = None,
        look: _Look | None = None,
    ) -> tuple[JobSpec, ...]:
        """Return the next recheck: of a fresh activity, of pending streams, or of streams that changed."""
        now = self.clock.now()
        pending = look is not None and streams is not None and streams.state == "pending"
        recheck = next_recheck(first_seen, now, streamless_since=look.since if look and pending else None)
        if look is not None and look.replaces and not pending:
            recheck = sooner(recheck, Recheck(now + AFTER_CHANGE, streams_only=True, prompt=False))
        if recheck is None:
            return ()
        again = JobSpec(
            kind="refresh_activity",
            key=job.key,
            athlete_id=job.athlete_id,
            hint=RefreshHint(cause="recheck", streams_only=recheck.streams_only),
            hint_time=0,
            lane=Lane.LIVE if recheck.prompt else Lane.RECHECK,
            due_at=recheck.at,
        )
        return (again,)

    async def _fetch_streams(self, job: Job, look: _Look) -> StoreStreams:
        """Fetch the streams. Without any, they are pending while some may come, and absent later."""
        try:
            body = await self.api.streams(job.athlete_id, job.object_id)
        except NotVisible:
            body = b"{}"
        try:
            encoded = await self.encode_streams(body)
        except InvalidInput as problem:
            raise TransientError(200, str(problem), call=f"GET activities/{job.object_id}/streams") from None
        if not encoded.channels:
            may_come = look.expected and streams_may_come(look.since, self.clock.now())
            state: StreamState = "pending" if may_come else "absent"
            return StoreStreams(job.object_id, job.athlete_id, state, streamless_since=look.since)
        return StoreStreams(
            job.object_id,
            job.athlete_id,
            "present",
            encoded.blob,
            tuple(encoded.channels),
            encoded.samples,
        )

    def _failed(self, job: Job, error: StravaError, effects: tuple[Effect, ...] = ()) -> Outcome:
        outcome = ending(
            error,
            job,
            self.clock.now(),
            self.rng,
            effects=effects,
            if_last=(self._note_failure(job, error, final=True),),
        )
        if isinstance(outcome, Retry):
            return msgspec.structs.replace(
                outcome, effects=(*effects, self._note_failure(job, error, final=False))
            )
        return outcome

    def _note_failure(self, job: Job, error: StravaError, *, final: bool) -> NoteFailure:
        return NoteFailure(job.object_id, job.athlete_id, str(error), final)


def _seen_since(stored: StoredActivity, event_time: int) -> bool:
    """Whether a newer event was applied, or Strava has shown the activity after that second."""
    newer_event = stored.last_event_time is not None and stored.last_event_time > event_time
    return newer_event or (stored.fetched is not None and stored.fetched.timestamp() >= event_time + 1)


def _is_detailed(stored: StoredActivity | None) -> bool:
    return stored is not None and stored.detailed


def _has_streams(stored: StoredActivity | None, record: ActivityRecord) -> bool:
    """Whether the stored streams are still right: nothing has changed that follows from the samples."""
    present = stored is not None and stored.stream_state == "present"
    return present and stored is not None and stored.streams_fingerprint == record.fingerprint


def _done(claim: tuple[Effect, ...], *written: Effect, then: tuple[JobSpec, ...] = ()) -> Done:
    """End the job. `claim`: a delete that Strava has just denied; only deletes get the note."""
    return Done((*written, *claim), FORGED if claim else None, then, about="delete" if claim else None)


def _going_on(outcome: Outcome, rest: RefreshHint) -> Outcome:
    if isinstance(outcome, (Snooze, Retry)):
        return msgspec.structs.replace(outcome, hint=rest)
    return outcome
