"""An athlete leaves: confirm it at Strava when it is only hearsay, or tell Strava when it was our word."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..domain.effect import ConfirmRevoke, CountForged, PurgeAthlete
from ..domain.job import Job, RevokeHint
from ..domain.outcome import Done, Outcome, Retry, Snooze
from ..errors import (
    ApiError,
    AppInactive,
    FeedzoneError,
    RateLimited,
    StravaError,
    TransientError,
    TransportFailure,
)
from ..ports import Clock, Records, StravaApi
from .failures import ending

AGAIN = timedelta(minutes=5)
GIVE_UP = timedelta(days=7)

Unseal = Callable[[str, int], str]


@dataclass(frozen=True)
class RevokeAthlete:
    """Handles `revoke_athlete`. `unseal` decrypts the token that a disconnect left in the hint."""

    api: StravaApi
    records: Records
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
        except (TransientError, TransportFailure) as failure:
            # Nobody tells us again that the athlete has left, and no comparison finds it out.
            again = self._again(job)
            if again is None:
                return ending(failure, job, self.clock.now(), self.rng)
            return Snooze(again, f"Strava cannot say whether the athlete has left: {failure}")
        except StravaError as error:
            return ending(error, job, self.clock.now(), self.rng)
        if gone:
            confirmed = "Strava no longer accepts the athlete's tokens"
            return Done((PurgeAthlete(job.athlete_id, "deauthorized", hint.cause, confirmed),))
        if hint.verified:
            return Done(note="the athlete has connected again since; nothing was deleted")
        return Done(
            (CountForged(hint.cause, "deauthorization"),),
            "forged: the athlete is still connected at Strava; nothing was deleted",
        )

    async def _is_still_true(self, job: Job) -> bool:
        """Whether the athlete has not consented again since the second in which it was said."""
        connected = await self.records.connected_at(job.athlete_id)
        return connected is None or job.hint_time + 1 > connected.timestamp()

    def _again(self, job: Job) -> datetime | None:
        """When to ask again: soon at first, then every few minutes, for a week; None after that."""
        now = self.clock.now()
        age = now - job.first_received_at
        return None if age > GIVE_UP else now + min(AGAIN, max(age, timedelta(seconds=5)))

    async def _revoke(self, job: Job, hint: RevokeHint) -> Outcome:
        """The athlete's data is gone here already; this tells Strava, for as long as it takes."""
        if hint.sealed_token is None:
            return Done((ConfirmRevoke(job.athlete_id, "there was no token to revoke"),))
        now = self.clock.now()
        try:
            await self.api.revoke(self.unseal(hint.sealed_token, job.athlete_id))
        except (TransientError, TransportFailure, AppInactive) as failure:
            again = self._again(job)
            if again is None:
                return Done(
                    (ConfirmRevoke(job.athlete_id, f"given up after {GIVE_UP.days} days: {failure}"),)
                )
            return Snooze(again, f"Strava cannot be told: {failure}")
        except RateLimited as refusal:
            return Snooze(now + AGAIN, f"Strava cannot be told: {refusal}")
        except ApiError as refusal:
            if any(fault.resource == "Application" for fault in refusal.faults):
                # Our credentials were refused: of the token Strava has said nothing.
                return Retry(str(refusal))
            # A token that Strava does not know any more is as revoked as it can be.
            return Done((ConfirmRevoke(job.athlete_id, f"Strava did not know the token: {refusal}"),))
        except FeedzoneError as problem:
            return Done((ConfirmRevoke(job.athlete_id, f"the token cannot be read: {problem}"),))
        return Done((ConfirmRevoke(job.athlete_id, "revoked at Strava"),))
