"""The push subscription: one per application, verified by a real handshake (contract section 8)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .http import Request, Response, answer, bad_request, fault, not_found
from .sender import Sender
from .world import Subscription, World

HANDSHAKE_S = 2.0
MAX_URL = 255


class Push:
    """Answers /push_subscriptions: client credentials instead of a bearer, free of quota."""

    def __init__(self, world: World, sender: Sender) -> None:
        self._world = world
        self._sender = sender
        self._handshakes = 0

    async def answer(self, request: Request) -> Response:
        """List, create or delete."""
        params = request.params()
        if refused := self._check_client(params):
            return refused
        match request.method, request.parts[3:]:
            case "GET", []:
                held = self._world.subscription
                return answer([self._json(held)] if held else [])
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
            return fault(403, "Forbidden", "Application", "Status", "Inactive")
        return None

    async def _create(self, params: dict[str, str]) -> Response:
        url = params.get("callback_url", "")
        if self._taken():
            return bad_request("PushSubscription", "", "already exists")
        if urlsplit(url).scheme not in ("http", "https") or len(url) > MAX_URL:
            return bad_request("PushSubscription", "callback url", "invalid")
        if code := await self._handshake(url, params.get("verify_token", "")):
            return bad_request("PushSubscription", "callback url", code)
        # Somebody else may have subscribed while this callback was being verified.
        if self._taken():
            return bad_request("PushSubscription", "", "already exists")
        return answer(self._json(self._world.subscribe(url)), 201)

    def _taken(self) -> bool:
        return self._world.subscription is not None

    async def _handshake(self, url: str, verify_token: str) -> str | None:
        """The error code, or None when the callback echoed the challenge in time."""
        self._handshakes += 1
        secret = f"{self._world.seed}:challenge:{self._handshakes}"
        challenge = hashlib.sha256(secret.encode()).hexdigest()[:16]
        asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        try:
            status, content_type, body = await self._sender.wire.get(url, asked, HANDSHAKE_S)
        except Exception:  # refused, too slow, no such host: all the same to Strava
            return "not verifiable"
        if status != 200:
            return "GET to callback URL does not return 200"
        return None if _echoes(content_type, body, challenge) else "does not match hub.challenge"

    def _delete(self, text: str) -> Response:
        held = self._world.subscription
        if held is None or str(held.id) != text:
            return not_found("PushSubscription")
        self._world.drop_subscription()
        return Response(204)

    def _json(self, held: Subscription) -> dict[str, Any]:
        client_id = self._world.application.client_id
        made = datetime.fromtimestamp(held.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "id": held.id,
            "resource_state": 2,
            "application_id": int(client_id) if client_id.isdecimal() else 0,
            "callback_url": held.callback_url,
            "created_at": made,
            "updated_at": made,
        }


def _echoes(content_type: str, body: bytes, challenge: str) -> bool:
    try:
        echoed = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    is_json = content_type.split(";")[0].strip() == "application/json"
    return is_json and isinstance(echoed, dict) and echoed.get("hub.challenge") == challenge
