"""An athlete leaves: confirm it at Strava when it is only hearsay, or tell Strava when it was our word."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ..domain.effect import ConfirmRevoke, PurgeAthlete, RecordRejectedClaim
from ..domain.job import Job, RevokeHint
from ..domain.outcome import Done, Outcome, Snooze
from ..errors import (
    ApiError,
    ApplicationRefused,
    FeedzoneError,
    StravaError,
    TransientError,
    TransportFailure,
)
from ..ports import Clock, HandlerReads, StravaApi
from .failures import ending

AGAIN, AT_LEAST_EVERY = timedelta(minutes=5), timedelta(hours=1)
GIVE_UP = timedelta(days=7)
"""For so long Strava is asked whether an athlete has left."""

GIVE_UP_TELLING = timedelta(days=60)
"""For so long Strava is told that we let go: applications have been switched off for six weeks (pain 35)."""

SOON = timedelta(seconds=5)

Unseal = Callable[[str, int], str]


@dataclass(frozen=True)
class RevokeAthlete:
    """Handles `revoke_athlete`. `unseal` decrypts the token that a disconnect left in the hint."""

    api: StravaApi
    records: HandlerReads
    clock: Clock
    rng: random.Random
    unseal: Unseal

    async def __call__(self, job: Job) -> Outcome:
        hint = job.hint
        assert isinstance(hint, RevokeHint)
        return await (self._confirm(job, hint) if hint.action == "confirm" else self._revoke(job, hint))

    async def _confirm(self, job: Job, hint: RevokeHint) -> Outcome:
        """Tokens and data go only when Strava itself refuses our access, or the signature proves it.

        Who has connected again since then may have left before: a delivery can come late.
        """
        if hint.verified and await self._is_still_true(job):
            return Done((PurgeAthlete(job.athlete_id, "deauthorized", hint.cause, "signature"),))
        try:
            gone = await self.api.is_deauthorized(job.athlete_id)
        except (TransientError, TransportFailure, ApplicationRefused) as failure:
            # Nobody tells us again that the athlete has left, and no comparison finds it out.
            if self._age(job) > GIVE_UP:
                return ending(failure, job, self.clock.now(), self.rng)
            return Snooze(
                self.clock.now() + _pause(self._age(job)),
                f"Strava cannot say whether the athlete has left: {failure}",
            )
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        if gone:
            confirmed = "Strava no longer accepts the athlete's tokens"
            return Done((PurgeAthlete(job.athlete_id, "deauthorized", hint.cause, confirmed),))
        if hint.verified:
            return Done(note="the athlete has connected again since; nothing was deleted")
        return Done(
            (RecordRejectedClaim(hint.cause, "deauthorization"),),
            "forged: the athlete is still connected at Strava; nothing was deleted",
        )

    async def _is_still_true(self, job: Job) -> bool:
        """Whether the athlete has not consented again since the second in which it was said."""
        connected = await self.records.connected_at(job.athlete_id)
        return connected is None or job.hint_time + 1 > connected.timestamp()

    def _age(self, job: Job) -> timedelta:
        return self.clock.now() - job.first_received_at

    async def _revoke(self, job: Job, hint: RevokeHint) -> Outcome:
        """The athlete's data is gone here already; this tells Strava, for as long as it takes."""
        if hint.sealed_token is None:
            return Done((ConfirmRevoke(job.athlete_id, "there was no token to revoke"),))
        try:
            await self.api.revoke(self.unseal(hint.sealed_token, job.athlete_id))
        except StravaError as failure:
            if _is_unknown(failure):
                # A token that Strava does not know any more is as revoked as it can be.
                return Done((ConfirmRevoke(job.athlete_id, f"Strava did not know the token: {failure}"),))
            return self._later(job, failure)
        except FeedzoneError as problem:
            detail = f"not revoked: the token cannot be read: {problem}"
            return Done((ConfirmRevoke(job.athlete_id, detail, revoked=False),))
        return Done((ConfirmRevoke(job.athlete_id, "revoked at Strava"),))

    def _later(self, job: Job, failure: StravaError) -> Outcome:
        """The token is kept until Strava has said that it is revoked (pain 28): tried ever less often."""
        age = self._age(job)
        if age > GIVE_UP_TELLING:
            detail = f"not revoked: given up after {GIVE_UP_TELLING.days} days: {failure}"
            return Done((ConfirmRevoke(job.athlete_id, detail, revoked=False),))
        wait = max(_pause(age), min(AT_LEAST_EVERY, age / 24))
        return Snooze(self.clock.now() + wait, f"Strava cannot be told: {failure}")


def _pause(age: timedelta) -> timedelta:
    """Soon at first, then every few minutes."""
    return min(AGAIN, max(age, SOON))


def _is_unknown(refusal: StravaError) -> bool:
    """Whether Strava says that it does not know the token. Any other refusal says nothing of it: of a proxy,
    of our own credentials, of a switched off application."""
    return isinstance(refusal, ApiError) and any(
        fault.code == "invalid" and "token" in f"{fault.resource} {fault.field}".lower()
        for fault in refusal.faults
    )
