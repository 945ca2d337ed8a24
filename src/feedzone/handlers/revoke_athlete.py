"""An athlete leaves: confirm an unproven event at Strava, or revoke our access there."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..domain.athlete import Access
from ..domain.effect import (
    BeginLeaving,
    ConfirmRevoke,
    CountFruitless,
    PurgeAthlete,
    RecordRejectedClaim,
)
from ..domain.job import Job, RevokeHint
from ..domain.outcome import Done, Outcome, Snooze
from ..errors import (
    ApiError,
    ApplicationRefused,
    FeedzoneError,
    RateLimited,
    StravaError,
    TransientError,
    TransportFailure,
)
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending
from .unproven import SHARE_SPENT

AGAIN, AT_LEAST_EVERY = timedelta(minutes=5), timedelta(hours=1)
STOP_ASKING = timedelta(days=7)
"""How long Strava is asked whether an athlete has left."""

STOP_REVOKING = timedelta(days=60)
"""How long revoking is retried: applications have been switched off for six weeks."""

SOON = timedelta(seconds=5)

CONFIRM_EVERY = timedelta(minutes=5)
"""The time between two calls that ask whether an athlete has left, where events without a proof say so."""

REMEMBERED = 10_000
"""The most athletes whose last refuted departure is remembered."""

Unseal = Callable[[str, int], str]


@dataclass(frozen=True)
class RevokeAthlete:
    """Handles `revoke_athlete`. `unseal` decrypts the token that a disconnect left in the hint."""

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random
    unseal: Unseal
    notice: timedelta
    """How long an athlete whose departure is unproven can connect again."""
    refuted: OrderedDict[int, datetime] = field(default_factory=OrderedDict)
    """When Strava last denied that an athlete had left, in the memory of this process."""

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, RevokeHint)
        return await (self._confirm(job, hint) if hint.action == "confirm" else self._revoke(job, hint))

    async def _confirm(self, job: Job, hint: RevokeHint) -> Outcome:
        """Remove tokens and data only if the signature proves the event, or Strava refuses our access now.

        A late delivery may be older than a new consent of the athlete. If Strava cannot be asked, an unproven
        event begins a deadline and deletes nothing.
        """
        access = await self.records.access(job.athlete_id)
        if access is None or access.status == "deauthorized":
            return Done()
        is_news = job.hint_time + 1 > access.connected_at.timestamp()
        if hint.verified and is_news:
            return _purge(job, hint, access, "signature")
        if access.is_doubtful:
            return self._doubt(job, hint, access, is_news=is_news)
        if not hint.verified and (again := await self._next_confirmation(job)) is not None:
            return Snooze(again, SHARE_SPENT, wait_reason="unproven")
        try:
            gone = await self.api.is_deauthorized(job.athlete_id)
        except (TransientError, TransportFailure, ApplicationRefused, RateLimited) as failure:
            # No second event comes, and no reconciliation finds a departure: keep asking.
            if self._age(job) > STOP_ASKING:
                return ending(failure, job, self.clock.now(), self.rng)
            return Snooze(
                self.clock.now() + _pause(self._age(job)),
                f"Strava cannot say whether the athlete has left: {failure}",
            )
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        if gone:
            # The refusal itself may have changed the status, and found out that the pair was lost.
            now_known = await self.records.access(job.athlete_id)
            return self._doubt(job, hint, now_known or access, is_news=is_news)
        if hint.verified:
            return Done(note="the athlete has connected again since; nothing was deleted")
        self._note_refuted(job.athlete_id)
        return Done(
            (RecordRejectedClaim(hint.cause, "deauthorization"), CountFruitless(job.athlete_id)),
            "forged: the athlete is still connected at Strava; nothing was deleted",
        )

    async def _next_confirmation(self, job: Job) -> datetime | None:
        """Return when an unproven departure may cost a call. None: now."""
        now, last = self.clock.now(), self.refuted.get(job.athlete_id)
        if last is not None and now < last + CONFIRM_EVERY:
            return last + CONFIRM_EVERY
        return (await self.records.fruitless_calls(job.athlete_id)).next_call(now)

    def _note_refuted(self, athlete_id: int) -> None:
        self.refuted[athlete_id] = self.clock.now()
        self.refuted.move_to_end(athlete_id)
        while len(self.refuted) > REMEMBERED:
            self.refuted.popitem(last=False)

    def _doubt(self, job: Job, hint: RevokeHint, access: Access, *, is_news: bool) -> Outcome:
        """Judge an event about an athlete whose tokens do not work.

        Only a refusal since the event was received confirms it. An older one was there before: anybody
        could send such an event.
        """
        if access.status == "deauthorized":
            return Done()
        if access.refused_since(job.first_received_at):
            return _purge(job, hint, access, "Strava no longer accepts the athlete's tokens")
        if not is_news:
            return Done(note="the athlete has connected again since; nothing was deleted")
        until = self.clock.now() + self.notice
        return Done(
            (BeginLeaving(job.athlete_id, hint.cause, until, access.connected_at),),
            "unproven: Strava cannot be asked; without a new consent the data is deleted at the deadline",
        )

    def _age(self, job: Job) -> timedelta:
        return self.clock.now() - job.first_received_at

    async def _revoke(self, job: Job, hint: RevokeHint) -> Outcome:
        """End our access at Strava. The athlete's data is gone here already."""
        if hint.sealed_token is None:
            return Done((ConfirmRevoke(job.athlete_id, "there was no token to revoke"),))
        try:
            await self.api.revoke(self.unseal(hint.sealed_token, job.athlete_id))
        except StravaError as failure:
            if _is_unknown(failure):
                # A token that Strava does not know is revoked.
                return Done((ConfirmRevoke(job.athlete_id, f"Strava did not know the token: {failure}"),))
            return self._later(job, failure)
        except FeedzoneError as problem:
            detail = f"not revoked: the token cannot be read: {problem}"
            return Done((ConfirmRevoke(job.athlete_id, detail, revoked=False),))
        return Done((ConfirmRevoke(job.athlete_id, "revoked at Strava"),))

    def _later(self, job: Job, failure: StravaError) -> Outcome:
        """Retry, less and less often, and keep the token until Strava has confirmed the revocation."""
        age = self._age(job)
        if age > STOP_REVOKING:
            detail = f"not revoked: given up after {STOP_REVOKING.days} days: {failure}"
            return Done((ConfirmRevoke(job.athlete_id, detail, revoked=False),))
        wait = max(_pause(age), min(AT_LEAST_EVERY, age / 24))
        return Snooze(self.clock.now() + wait, f"Strava cannot be told: {failure}")


def _purge(job: Job, hint: RevokeHint, access: Access, confirmed_by: str) -> Done:
    purge = PurgeAthlete(job.athlete_id, "deauthorized", hint.cause, confirmed_by, access.connected_at)
    return Done((purge,))


def _pause(age: timedelta) -> timedelta:
    """Return a short pause at first, later a few minutes."""
    return min(AGAIN, max(age, SOON))


def _is_unknown(refusal: StravaError) -> bool:
    """Whether Strava says that it does not know the token.

    Any other refusal tells nothing about the token: a proxy, our own credentials or a switched-off
    application may be the cause.
    """
    if not isinstance(refusal, ApiError) or isinstance(refusal, TransientError):
        return False
    return any(
        fault.code == "invalid" and "token" in f"{fault.resource} {fault.field}".lower()
        for fault in refusal.faults
    )
