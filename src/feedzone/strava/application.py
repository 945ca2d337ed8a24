"""The calls that the application makes for itself: tokens and the push subscription.

None of them counts against the rate limit (docs/strava-api.md#rate-limits).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode

from ..domain.athlete import REQUESTED_SCOPES, AthleteProfile, TokenGrant
from ..errors import ApplicationRefused, RateLimited, TransientError, TransportFailure
from ..ports import Clock, Request, Transport
from . import calls
from .health import EndpointHealth
from .payloads import Subscription
from .responses import BEARERS, Call, read_error, read_off_loop

T = TypeVar("T")


class StravaApplication:
    """OAuth and push subscriptions of one Strava application.

    `api_base` and `oauth_base` are two settings, because the API will move to another host and OAuth will
    not (docs/strava-api.md#hosts).
    """

    def __init__(
        self,
        transport: Transport,
        *,
        client_id: str,
        secret: str,
        api_base: str,
        oauth_base: str,
        timeout_s: float,
        clock: Clock,
        health: EndpointHealth | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._health = health or EndpointHealth()
        self._client = {"client_id": client_id, "client_secret": secret}
        self._api_base = api_base
        self._oauth_base = oauth_base
        self._timeout_s = timeout_s

    def consent_url(self, redirect_uri: str, state: str, *, force: bool = False) -> str:
        """Return the address of Strava's consent page (docs/strava-api.md#authorize)."""
        query = {
            "client_id": self._client["client_id"],
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "approval_prompt": "force" if force else "auto",
            "scope": ",".join(REQUESTED_SCOPES),
            "state": state,
        }
        return f"{self._oauth_base}/authorize?{urlencode(query)}"

    async def exchange(self, code: str) -> tuple[TokenGrant, AthleteProfile]:
        """Exchange a consent's single-use code. Raises SeatsFull, or PermanentError for a bad code."""
        return await self._token(calls.EXCHANGE, {"grant_type": "authorization_code", "code": code})

    async def refresh(self, refresh_token: str) -> TokenGrant:
        """Exchange a refresh token. Raises TokenRevoked when Strava does not accept it."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self._token(calls.REFRESH, form)

    async def _token(self, call: Call[T], form: Mapping[str, str]) -> T:
        return await self._send(call, "POST", f"{self._oauth_base}/token", form={**self._client, **form})

    async def revoke(self, token: str) -> None:
        """Revoke the access. Strava answers 200 also when it is already revoked.

        See docs/strava-api.md#revoke.
        """
        pair = f"{self._client['client_id']}:{self._client['client_secret']}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        url = f"{self._oauth_base}/revoke"
        await self._send(calls.REVOKE, "POST", url, headers=headers, form={"token": token})

    @property
    def api_base(self) -> str:
        return self._api_base

    async def is_at(self, api_base: str) -> bool:
        """Return whether Strava answers below this address: it refuses a call without a token."""
        try:
            response = await self._transport.send(Request("GET", f"{api_base}/athlete"), self._timeout_s)
        except TransportFailure:
            return False
        _, faults = read_error(response.body)
        return response.status == 401 and any(fault.resource in BEARERS for fault in faults)

    async def subscriptions(self) -> list[Subscription]:
        url = f"{self._api_base}/push_subscriptions"
        return await self._send(calls.SUBSCRIPTIONS, "GET", url, params=self._client)

    async def subscribe(self, callback_url: str, verify_token: str) -> Subscription:
        """Create the subscription. Strava calls `callback_url` before this returns."""
        form = {**self._client, "callback_url": callback_url, "verify_token": verify_token}
        url = f"{self._api_base}/push_subscriptions"
        return await self._send(calls.SUBSCRIBE, "POST", url, form=form)

    async def unsubscribe(self, subscription_id: int) -> None:
        url = f"{self._api_base}/push_subscriptions/{subscription_id}"
        await self._send(calls.UNSUBSCRIBE, "DELETE", url, params=self._client)

    async def _send(
        self,
        call: Call[T],
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> T:
        request = Request(method, url, headers or {}, params or {}, form)
        try:
            response = await self._transport.send(request, self._timeout_s)
            value = (await read_off_loop(response, call)).result()
        except (TransientError, TransportFailure, RateLimited, ApplicationRefused) as failure:
            # It says nothing about the athlete whose job asks.
            now = self._clock.now()
            self._health.note_failure(call.name, call.name, now)
            failure.again_after_s = self._health.pause_s(call.name, now)
            raise
        self._health.note_answer(call.name, call.name, self._clock.now())
        return value
