"""The calls that the application makes for itself: tokens and the push subscription.

None of them counts against the rate limit (docs/strava-api.md#rate-limits).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from ..domain.athlete import REQUESTED_SCOPES, AthleteProfile, TokenGrant
from ..errors import PermanentError, TransientError
from ..ports import Request, Response, Transport
from . import payloads, responses
from .payloads import Subscription


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
    ) -> None:
        self._transport = transport
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
        members = await self._token("POST oauth/token", {"grant_type": "authorization_code", "code": code})
        try:
            return payloads.grant(members), payloads.athlete(members["athlete"])
        except (KeyError, TypeError, msgspec.ValidationError) as problem:
            raise TransientError(200, f"not a token response: {problem}", call="POST oauth/token") from None

    async def refresh(self, refresh_token: str) -> TokenGrant:
        """Exchange a refresh token. Raises TokenRevoked when Strava does not accept it."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        members = await self._token("POST oauth/token", form)
        try:
            return payloads.grant(members)
        except (KeyError, TypeError, msgspec.ValidationError) as problem:
            raise TransientError(200, f"not a token response: {problem}", call="POST oauth/token") from None

    async def _token(self, call: str, form: Mapping[str, str]) -> dict[str, object]:
        response = await self._send("POST", f"{self._oauth_base}/token", form={**self._client, **form})
        body = responses.check(response, call, token_endpoint=True)
        try:
            members = responses.decode(body, response.status, call)
        except TransientError:
            # Without the body: a truncated one may contain a token pair.
            raise TransientError(response.status, "the response is not JSON", call=call) from None
        return members if isinstance(members, dict) else {}

    async def revoke(self, token: str) -> None:
        """Revoke the access. Strava answers 200 also when it is already revoked.

        See docs/strava-api.md#revoke.
        """
        pair = f"{self._client['client_id']}:{self._client['client_secret']}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        response = await self._send(
            "POST", f"{self._oauth_base}/revoke", headers=headers, form={"token": token}
        )
        responses.check(response, "POST oauth/revoke", token_endpoint=True)

    async def subscriptions(self) -> list[Subscription]:
        response = await self._send("GET", f"{self._api_base}/push_subscriptions", params=self._client)
        call = "GET push_subscriptions"
        members = responses.decode(responses.check(response, call), response.status, call)
        try:
            return msgspec.convert(members, list[Subscription], strict=False)
        except msgspec.ValidationError as problem:
            raise TransientError(
                response.status, f"not a list of subscriptions: {problem}", call=call
            ) from None

    async def subscribe(self, callback_url: str, verify_token: str) -> Subscription:
        """Create the subscription. Strava calls `callback_url` before this returns."""
        form = {**self._client, "callback_url": callback_url, "verify_token": verify_token}
        response = await self._send("POST", f"{self._api_base}/push_subscriptions", form=form)
        call = "POST push_subscriptions"
        members = responses.decode(responses.check(response, call), response.status, call)
        try:
            return msgspec.convert(members, Subscription, strict=False)
        except msgspec.ValidationError as problem:
            raise PermanentError(response.status, f"not a subscription: {problem}", call=call) from None

    async def unsubscribe(self, subscription_id: int) -> None:
        url = f"{self._api_base}/push_subscriptions/{subscription_id}"
        response = await self._send("DELETE", url, params=self._client)
        responses.check(response, "DELETE push_subscriptions")

    async def _send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        request = Request(method, url, headers or {}, params or {}, form)
        return await self._transport.send(request, self._timeout_s)
