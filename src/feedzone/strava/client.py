"""Strava's API, called on behalf of an athlete (ports.StravaApi)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ..domain.activity import ActivityRecord
from ..domain.athlete import AthleteProfile, TokenRow
from ..domain.gear import GearListing
from ..domain.photos import Photo
from ..errors import (
    AnswerTooLarge,
    CallOverdue,
    NeedsRefresh,
    NeedsScope,
    NotConnected,
    StravaError,
    StravaFails,
    TokenRevoked,
    TransientError,
    TransportFailure,
)
from ..ports import Clock, Request
from . import calls
from .application import StravaApplication
from .limiter import Limiter
from .responses import PAUSES_S, Answer, Call
from .tokens import TokenKeeper

T = TypeVar("T")

STREAM_KEYS = "time,distance,latlng,altitude,velocity_smooth,heartrate,cadence,watts,temp,moving,grade_smooth"
"""All channels that Strava has; without `keys` it sends only `distance` (docs/strava-api.md#streams)."""

PHOTO_PARAMS = {"size": "5000", "photo_sources": "true"}
"""Without a size Strava sends only thumbnails or placeholders; without sources, sometimes nothing."""


class StravaClient:
    """Calls Strava with SYNC_TIMEOUT_MS, through the limiter, with a token that is refreshed if needed."""

    def __init__(
        self,
        limiter: Limiter,
        tokens: TokenKeeper,
        application: StravaApplication,
        clock: Clock,
        *,
        api_base: str,
        timeout_s: float,
    ) -> None:
        self._clock = clock
        self._limiter = limiter
        self._tokens = tokens
        self._application = application
        self._api_base = api_base
        self._timeout_s = timeout_s

    async def activity(self, athlete_id: int, activity_id: int) -> ActivityRecord:
        return await self._get(athlete_id, f"/activities/{activity_id}", {}, calls.activity(activity_id))

    async def streams(self, athlete_id: int, activity_id: int) -> bytes:
        params = {"keys": STREAM_KEYS, "key_by_type": "true"}
        path = f"/activities/{activity_id}/streams"
        return await self._get(athlete_id, path, params, calls.streams(activity_id))

    async def photos(self, athlete_id: int, activity_id: int) -> Sequence[Photo]:
        path = f"/activities/{activity_id}/photos"
        return await self._get(athlete_id, path, PHOTO_PARAMS, calls.photos(activity_id))

    async def activities(
        self, athlete_id: int, *, after: int | None, before: int | None, page: int, per_page: int
    ) -> Sequence[ActivityRecord]:
        params = {"page": str(page), "per_page": str(per_page)}
        params |= {name: str(at) for name, at in (("after", after), ("before", before)) if at is not None}
        return await self._get(
            athlete_id, "/athlete/activities", params, calls.activity_page(page, athlete_id)
        )

    async def athlete(self, athlete_id: int) -> AthleteProfile:
        # This call works with the scopes that every consent grants.
        return await self._get(athlete_id, "/athlete", {}, calls.athlete(athlete_id), any_scope=True)

    async def gear(self, athlete_id: int) -> GearListing:
        return await self._get(athlete_id, "/athlete", {}, calls.gear(athlete_id))

    async def is_deauthorized(self, athlete_id: int) -> bool:
        try:
            await self.athlete(athlete_id)
        except (NeedsRefresh, TokenRevoked, NotConnected):
            return True
        return False

    async def revoke(self, token: str) -> None:
        await self._application.revoke(token)

    async def _get(
        self, athlete_id: int, path: str, params: Mapping[str, str], call: Call[T], *, any_scope: bool = False
    ) -> T:
        """Send one GET; replace a token that Strava rejects, once (docs/strava-api.md#errors).

        Raises NeedsScope without a call if Strava has answered so before: only a new consent changes that.
        """
        pair = await self._tokens.usable(athlete_id)
        if pair.status == "needs_scope" and not any_scope:
            raise NeedsScope(401, "activity:read is not granted", call=call.name)
        answer = await self._send(pair, path, params, call)
        if isinstance(answer.error, NeedsRefresh):
            pair = await self._tokens.replace(pair)
            answer = await self._send(pair, path, params, call)
        if isinstance(answer.error, TransientError) and self._limiter.in_doubt(answer.error):
            await self._compare(pair, answer.error)
        return answer.result()

    async def _compare(self, pair: TokenRow, failure: TransientError) -> None:
        """Blame the failure on its object if Strava answers another call meanwhile."""
        request = Request("GET", f"{self._api_base}/athlete", _bearer(pair))
        try:
            other = await self._limiter.send(request, self._timeout_s, calls.athlete(pair.athlete_id))
        except StravaError:
            return
        if not isinstance(other.error, TransientError):
            failure.again_after_s = None

    async def _send(self, pair: TokenRow, path: str, params: Mapping[str, str], call: Call[T]) -> Answer[T]:
        """Send one GET. Repeat it at once after a transient failure, so that it costs the job no attempt."""
        request = Request("GET", f"{self._api_base}{path}", _bearer(pair), params)
        pauses = list(PAUSES_S)
        failed: Answer[T] | TransportFailure | None = None
        while True:
            try:
                failed = answer = await self._limiter.send(request, self._timeout_s, call)
                if not isinstance(answer.error, TransientError) or not pauses:
                    return answer
            except TransportFailure as failure:
                failed = failure
                if isinstance(failure, CallOverdue):
                    del pauses[1:]  # a run has time for two long waits
                elif isinstance(failure, AnswerTooLarge):
                    pauses.clear()  # the same answer would be read again
                if not pauses:
                    raise
            except StravaFails:
                # A job that has sent its call ends with that call's failure: if it waited for the
                # breaker instead, it could repeat the call forever.
                if failed is None:
                    raise
                if isinstance(failed, Answer):
                    return failed
                raise failed from None
            await self._clock.sleep(pauses.pop(0))


def _bearer(pair: TokenRow) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair.access_token}"}
