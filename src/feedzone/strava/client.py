"""Strava's API, called on behalf of an athlete (ports.StravaApi)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..domain.activity import ActivityRecord
from ..domain.athlete import AthleteProfile, TokenRow
from ..domain.gear import GearListing
from ..domain.photos import Photo
from ..errors import (
    CallOverdue,
    NeedsRefresh,
    NeedsScope,
    NotConnected,
    StravaFails,
    TokenRevoked,
    TransientError,
    TransportFailure,
)
from ..ports import Clock, Request, Response
from . import payloads, responses
from .application import StravaApplication
from .limiter import Limiter
from .tokens import TokenKeeper

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
        call = f"GET activities/{activity_id}"
        response = await self._get(athlete_id, f"/activities/{activity_id}", {}, call)
        return payloads.activity(responses.check(response, call), "detail", call)

    async def streams(self, athlete_id: int, activity_id: int) -> bytes:
        call = f"GET activities/{activity_id}/streams"
        params = {"keys": STREAM_KEYS, "key_by_type": "true"}
        response = await self._get(athlete_id, f"/activities/{activity_id}/streams", params, call)
        return payloads.streams(responses.check(response, call), call)

    async def photos(self, athlete_id: int, activity_id: int) -> Sequence[Photo]:
        call = f"GET activities/{activity_id}/photos"
        response = await self._get(athlete_id, f"/activities/{activity_id}/photos", PHOTO_PARAMS, call)
        return payloads.photos(responses.check(response, call), call)

    async def activities(
        self, athlete_id: int, *, after: int | None, before: int | None, page: int, per_page: int
    ) -> Sequence[ActivityRecord]:
        call = f"GET athlete/activities page {page}"
        params = {"page": str(page), "per_page": str(per_page)}
        params |= {name: str(at) for name, at in (("after", after), ("before", before)) if at is not None}
        response = await self._get(athlete_id, "/athlete/activities", params, call)
        return payloads.activity_page(responses.check(response, call), call, athlete_id)

    async def athlete(self, athlete_id: int) -> AthleteProfile:
        # This call works with the scopes that every consent grants.
        response = await self._get(athlete_id, "/athlete", {}, "GET athlete", any_scope=True)
        body = responses.check(response, "GET athlete")
        try:
            return payloads.athlete(responses.decode(body, response.status, "GET athlete"))
        except msgspec.ValidationError:
            raise TransientError(
                response.status, "the response is not an athlete", call="GET athlete"
            ) from None

    async def gear(self, athlete_id: int) -> GearListing:
        response = await self._get(athlete_id, "/athlete", {}, "GET athlete")
        return payloads.gear(responses.check(response, "GET athlete"), "GET athlete")

    async def is_deauthorized(self, athlete_id: int) -> bool:
        try:
            await self.athlete(athlete_id)
        except (NeedsRefresh, TokenRevoked, NotConnected):
            return True
        return False

    async def revoke(self, token: str) -> None:
        await self._application.revoke(token)

    async def _get(
        self, athlete_id: int, path: str, params: Mapping[str, str], call: str, *, any_scope: bool = False
    ) -> Response:
        """Send one GET; replace a token that Strava rejects, once (docs/strava-api.md#errors).

        Raises NeedsScope without a call if Strava has answered so before: only a new consent changes that.
        """
        pair = await self._tokens.usable(athlete_id)
        if pair.status == "needs_scope" and not any_scope:
            raise NeedsScope(401, "activity:read is not granted", call=call)
        response = await self._send(pair, path, params, call)
        if response.status == 401 and isinstance(responses.error_of(response, call), NeedsRefresh):
            pair = await self._tokens.replace(pair)
            response = await self._send(pair, path, params, call)
        return response

    async def _send(self, pair: TokenRow, path: str, params: Mapping[str, str], call: str) -> Response:
        """Send one GET. Repeat it at once after a transient failure, so that it costs the job no attempt."""
        headers = {"Authorization": f"Bearer {pair.access_token}"}
        request = Request("GET", f"{self._api_base}{path}", headers, params)
        pauses = list(responses.PAUSES_S)
        failed: Response | TransportFailure | None = None
        while True:
            try:
                failed = response = await self._limiter.send(request, self._timeout_s, call)
                if response.status < 500 or not pauses:
                    return response
            except TransportFailure as failure:
                failed = failure
                if isinstance(failure, CallOverdue):
                    del pauses[1:]  # a run has time for two long waits
                if not pauses:
                    raise
            except StravaFails:
                # A job that has sent its call ends with that call's failure: if it waited for the
                # breaker instead, it could repeat the call forever.
                if failed is None:
                    raise
                if isinstance(failed, Response):
                    return failed
                raise failed from None
            await self._clock.sleep(pauses.pop(0))
