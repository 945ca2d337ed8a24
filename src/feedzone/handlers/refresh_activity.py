"""An activity is stale: fetch what is true now, and its streams."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from ..domain.activity import ActivityRecord
from ..domain.backoff import not_ready_delay_s
from ..domain.effect import (
    CountForged,
    Effect,
    NoteFailure,
    StoreDetail,
    StoreStreams,
    StreamState,
    Tombstone,
)
from ..domain.job import Job, RefreshHint
from ..domain.outcome import Discard, Done, Outcome, Retry, Snooze
from ..errors import InvalidInput, NeedsRefresh, NotVisible, StravaError, TransientError
from ..ports import Clock, Records, StravaApi
from .failures import ending


class EncodedStreams(Protocol):
    """Streams as they are stored: one blob that describes itself."""

    @property
    def blob(self) -> bytes: ...
    @property
    def channels(self) -> Sequence[str]: ...
    @property
    def samples(self) -> int: ...


Encode = Callable[[bytes], EncodedStreams]

FRESH = timedelta(days=1)
"""For a day, missing streams may still be in the making (pain 20); after that there are none."""


@dataclass(frozen=True)
class RefreshActivity:
    """Handles `refresh_activity`."""

    api: StravaApi
    records: Records
    clock: Clock
    rng: random.Random
    encode_streams: Encode

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, RefreshHint)
        if hint.action == "delete":
            return await self._delete(job, hint)
        if hint.detail_version == job.version:
            return await self._streams_only(job, hint)
        return await self._refresh(job, hint)

    async def _delete(self, job: Job, hint: RefreshHint) -> Outcome:
        """Believed when its signature proves it, or when there is nothing to lose (guarantee 3)."""
        held = await self.records.held_activity(job.object_id)
        if held is not None and held.athlete_id != job.athlete_id:
            return Done(
                (CountForged(hint.cause, "delete"),),
                f"forged: the activity belongs to athlete {held.athlete_id}",
            )
        if held is None or not held.live or hint.verified:
            return Done((Tombstone(job.object_id, job.athlete_id, hint.cause),))
        return await self._refresh(job, hint)

    async def _refresh(self, job: Job, hint: RefreshHint) -> Outcome:
        try:
            record = await self.api.activity(job.athlete_id, job.object_id)
        except NotVisible as absent:
            return await self._not_visible(job, hint, absent)
        except StravaError as error:
            return self._failed(job, error)
        if record.athlete_id != job.athlete_id:
            return Discard(
                f"activity {record.id} belongs to athlete {record.athlete_id}, not to {job.athlete_id}"
            )
        claim = (CountForged(hint.cause, "delete"),) if hint.action == "delete" else ()
        return await self._with_streams(job, hint, record, claim)

    async def _not_visible(self, job: Job, hint: RefreshHint, absent: NotVisible) -> Outcome:
        """404: gone if we had it, or if a delete said so; not ready yet if it has just been announced."""
        held = await self.records.held_activity(job.object_id)
        known = held is not None and held.live
        if known or hint.action == "delete":
            return Done((Tombstone(job.object_id, job.athlete_id, hint.cause),))
        now = self.clock.now()
        delay = not_ready_delay_s((now - job.first_received_at).total_seconds())
        if delay is None:
            return Done(note="not_visible: Strava does not show us this activity")
        return Snooze(now + timedelta(seconds=delay), f"not ready: {absent}")

    async def _with_streams(
        self, job: Job, hint: RefreshHint, record: ActivityRecord, claim: tuple[Effect, ...]
    ) -> Outcome:
        received = job.first_received_at if hint.cause.startswith("event:") else None
        if record.manual:
            detail = StoreDetail(record, hint.cause, received, complete=True)
            return Done((detail, StoreStreams(record.id, record.athlete_id, "absent"), *claim), _note(claim))
        detail = StoreDetail(record, hint.cause, received, complete=False)
        try:
            streams = await self._fetch_streams(job, record.start_date)
        except StravaError as error:
            # The detail is not fetched twice: the next run goes on with the streams.
            rest = msgspec.structs.replace(
                hint,
                action="refresh",
                detail_version=job.version,
                started_at=record.start_date.timestamp() if record.start_date else None,
            )
            return _going_on(self._failed(job, error, (detail, *claim)), rest)
        return Done((detail, streams, *claim), _note(claim))

    async def _streams_only(self, job: Job, hint: RefreshHint) -> Outcome:
        try:
            started = None if hint.started_at is None else datetime.fromtimestamp(hint.started_at, UTC)
            return Done((await self._fetch_streams(job, started),))
        except StravaError as error:
            return _going_on(self._failed(job, error), hint)

    async def _fetch_streams(self, job: Job, started: datetime | None) -> StoreStreams:
        try:
            body = await self.api.streams(job.athlete_id, job.object_id)
        except NotVisible:
            body = b"{}"
        try:
            encoded = self.encode_streams(body)
        except InvalidInput as problem:
            raise TransientError(200, str(problem), call=f"GET activities/{job.object_id}/streams") from None
        if not encoded.channels:
            fresh = started is None or self.clock.now() - started < FRESH
            state: StreamState = "pending" if fresh else "absent"
            return StoreStreams(job.object_id, job.athlete_id, state)
        return StoreStreams(
            job.object_id,
            job.athlete_id,
            "present",
            encoded.blob,
            tuple(encoded.channels),
            encoded.samples,
        )

    def _failed(self, job: Job, error: StravaError, effects: tuple[Effect, ...] = ()) -> Outcome:
        if isinstance(error, NeedsRefresh):
            return Retry(str(error), effects, if_last=(self._note_failure(job, error, final=True),))
        outcome = ending(
            error,
            job.athlete_id,
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


def _note(claim: tuple[Effect, ...]) -> str | None:
    return "forged: the activity is alive at Strava; nothing was deleted" if claim else None


def _going_on(outcome: Outcome, rest: RefreshHint) -> Outcome:
    if isinstance(outcome, (Snooze, Retry)):
        return msgspec.structs.replace(outcome, hint=rest)
    return outcome
