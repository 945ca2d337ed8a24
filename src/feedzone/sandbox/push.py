"""The push subscription: one per application, verified by a real handshake.

See docs/strava-api.md#push-subscriptions.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .http import Request, Response, bad_request, error_response, json_response, not_found
from .sender import Sender
from .world import Subscription, World

HANDSHAKE_S = 2.0
MAX_URL = 255


class Push:
    """Handles /push_subscriptions: client credentials instead of a bearer, not counted as calls."""

    def __init__(self, world: World, sender: Sender) -> None:
        self._world = world
        self._sender = sender
        self._handshakes = 0

    async def handle(self, request: Request) -> Response:
        """List, create or delete the subscription."""
        params = request.params()
        if refused := self._check_client(params):
            return refused
        match request.method, request.parts[3:]:
            case "GET", []:
                subscription = self._world.subscription
                return json_response([self._json(subscription)] if subscription else [])
            case "POST", []:
                return await self._create(params)
            case "DELETE", [text]:
                return self._delete(text)
        return not_found("PushSubscription")

    def _check_client(self, params: dict[str, str]) -> Response | None:
        application = self._world.application
        if params.get("client_id") != application.client_id:
            return bad_request("Application", "client_id")
        if params.get("client_secret") != application.client_secret:
            return bad_request("Application", "client_secret")
        if self._world.faults.inactive:
            return error_response(403, "Forbidden", "Application", "Status", "Inactive")
        return None

    async def _create(self, params: dict[str, str]) -> Response:
        url = params.get("callback_url", "")
        if self._is_subscribed():
            return bad_request("PushSubscription", "", "already exists")
        if urlsplit(url).scheme not in ("http", "https") or len(url) > MAX_URL:
            return bad_request("PushSubscription", "callback url", "invalid")
        if code := await self._handshake(url, params.get("verify_token", "")):
            return bad_request("PushSubscription", "callback url", code)
        # Another client may have subscribed during the handshake with this callback.
        if self._is_subscribed():
            return bad_request("PushSubscription", "", "already exists")
        return json_response(self._json(self._world.subscribe(url)), 201)

    def _is_subscribed(self) -> bool:
        return self._world.subscription is not None

    async def _handshake(self, url: str, verify_token: str) -> str | None:
        """Return an error code, or None if the callback echoed the challenge in time."""
        self._handshakes += 1
        secret = f"{self._world.seed}:challenge:{self._handshakes}"
        challenge = hashlib.sha256(secret.encode()).hexdigest()[:16]
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        try:
            status, content_type, body = await self._sender.wire.get(url, query, HANDSHAKE_S)
        except Exception:  # refused, too slow, no such host: Strava does not distinguish
            return "not verifiable"
        if status != 200:
            return "GET to callback URL does not return 200"
        return None if _echoes(content_type, body, challenge) else "does not match hub.challenge"

    def _delete(self, text: str) -> Response:
        subscription = self._world.subscription
        if subscription is None or str(subscription.id) != text:
            return not_found("PushSubscription")
        self._world.drop_subscription()
        return Response(204)

    def _json(self, subscription: Subscription) -> dict[str, Any]:
        client_id = self._world.application.client_id
        created = datetime.fromtimestamp(subscription.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "id": subscription.id,
            "resource_state": 2,
            "application_id": int(client_id) if client_id.isdecimal() else 0,
            "callback_url": subscription.callback_url,
            "created_at": created,
            "updated_at": created,
        }


def _echoes(content_type: str, body: bytes, challenge: str) -> bool:
    try:
        echoed = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    is_json = content_type.split(";")[0].strip() == "application/json"
    return is_json and isinstance(echoed, dict) and echoed.get("hub.challenge") == challenge
