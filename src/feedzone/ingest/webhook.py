"""Strava's webhook: a plain ASGI application in front of all others.

Strava waits only two seconds for an answer, so nothing slow may come before it.

GET is the subscription handshake, POST a delivery (docs/strava-api.md#webhook-events).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec
import structlog

from ..domain.event import Signature, parse_event
from ..domain.signature import verify
from ..errors import InvalidInput, StorageUnavailable
from ..ports import Clock
from ..telemetry import Metrics
from .inbox import Inbox
from .plain_http import Refusal, problem_of, read_body, refuse, send_answer

log = structlog.get_logger("feedzone.webhook")

BODY_LIMIT = 32 * 1024
"""Bytes. Strava's events have a few hundred."""

BODY_WITHIN_S = 5.0

Scope = dict[str, Any]
Receive = Any
Send = Any


@dataclass(frozen=True)
class WebhookOptions:
    """`path` as registered at Strava; `keys` are candidates (name, key) for the signature."""

    path: str
    verify_token: str
    signature_mode: Literal["off", "observe", "enforce"]
    keys: Sequence[tuple[str, str]]


class Webhook:
    """The ASGI application. `answers(path)` says whether a path is its own."""

    def __init__(self, inbox: Inbox, options: WebhookOptions, metrics: Metrics, clock: Clock) -> None:
        self._inbox = inbox
        self._options = options
        self._metrics = metrics
        self._clock = clock

    def answers(self, path: str) -> bool:
        return hmac.compare_digest(path.rstrip("/").encode(), self._options.path.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "GET":
                status, body = 200, self._handshake(scope)
            elif scope["method"] == "POST":
                status, body = 200, await self._delivery(scope, receive)
            else:
                raise Refusal(405, "this address takes GET (handshake) and POST (events)")
        except Refusal as refusal:
            status, body = refusal.status, problem_of(refusal)
        if scope["method"] == "POST":
            self._metrics.deliveries.labels(str(status)).inc()
        await send_answer(send, status, body, _more_headers(status))

    def _handshake(self, scope: Scope) -> bytes:
        """Return the challenge, only to a caller that knows the verify token."""
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        mode, token, challenge = (
            query.get(f"hub.{name}", [""])[0] for name in ("mode", "verify_token", "challenge")
        )
        if not hmac.compare_digest(token.encode(), self._options.verify_token.encode()):
            log.warning("handshake_refused", reason="wrong verify token")
            raise Refusal(403, "hub.verify_token is not the one this server expects")
        if mode != "subscribe" or not challenge:
            raise Refusal(400, "takes hub.mode=subscribe and a hub.challenge")
        log.info("handshake_answered")
        return msgspec.json.encode({"hub.challenge": challenge})

    async def _delivery(self, scope: Scope, receive: Receive) -> bytes:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Refusal(415, f"takes application/json, not {media or 'a body without Content-Type'}")
        body = await read_body(scope["headers"], receive, BODY_LIMIT, BODY_WITHIN_S)
        began = time.perf_counter()
        signature = self._signature(headers.get("x-strava-signature"), body)
        try:
            receipt = await self._inbox.accept(parse_event(body), signature)
        except InvalidInput as problem:
            raise Refusal(400, str(problem)) from None
        except StorageUnavailable as problem:
            log.error("delivery_not_stored", error=str(problem))
            raise Refusal(503, "the event could not be stored; deliver it again") from None
        self._metrics.acceptance.observe(time.perf_counter() - began)
        return msgspec.json.encode({"status": receipt.verdict, "event_id": receipt.event_id})

    def _signature(self, header: str | None, body: bytes) -> Signature:
        if self._options.signature_mode == "off":
            return "absent"
        verdict = verify(header, body, now=self._clock.now().timestamp(), candidates=self._options.keys)
        self._metrics.signatures.labels(verdict.status, verdict.key_name or "").inc()
        if self._options.signature_mode == "enforce" and verdict.status != "verified":
            log.warning("signature_refused", status=verdict.status, reason=verdict.reason)
            reason = verdict.reason or "there is no X-Strava-Signature"
            raise Refusal(403, f"the signature is {verdict.status}: {reason}")
        return verdict.status


def _more_headers(status: int) -> list[tuple[bytes, bytes]]:
    if status == 405:
        return [(b"allow", b"GET, POST")]
    return [(b"retry-after", b"60")] if status == 503 else []


async def not_found(send: Send) -> None:
    """Answer the bare path with 404 when WEBHOOK_PATH_SECRET is set."""
    await refuse(send, Refusal(404, "there is nothing here"))
