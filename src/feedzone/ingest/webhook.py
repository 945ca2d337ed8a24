"""Strava's webhook: a plain ASGI application in front of all others.

Strava waits only two seconds for an answer, so nothing slow may come before it.

GET is the subscription handshake, POST a delivery (docs/strava-api.md#webhook-events).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec
import structlog

from ..domain.event import Signature, StravaEvent, parse_event
from ..domain.signature import verify
from ..errors import InvalidInput, StorageUnavailable
from ..ports import Clock
from ..telemetry import Metrics
from .admission import Admission
from .inbox import Inbox
from .plain_http import CLOSING, Refusal, problem_of, read_body, refuse, send_answer

log = structlog.get_logger("feedzone.webhook")

BODY_LIMIT = 32 * 1024
"""Bytes. Strava's events have a few hundred."""

BODY_WITHIN_S = 5.0

ACCEPTED = b'{"status":"accepted"}'
"""The answer to every event that was taken. Another answer would name connected athletes."""

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

    def __init__(
        self,
        inbox: Inbox,
        options: WebhookOptions,
        metrics: Metrics,
        clock: Clock,
        admission: Admission | None = None,
    ) -> None:
        self._inbox = inbox
        self._admission = admission or Admission(clock)
        self._options = options
        self._metrics = metrics
        # Finding a counter by its labels takes longer than counting.
        self._count_answer = cache(metrics.deliveries.labels)
        self._count_signature = cache(metrics.signatures.labels)
        self._clock = clock
        self._path = options.path.encode()

    def answers(self, path: str) -> bool:
        return hmac.compare_digest(path.rstrip("/").encode(), self._path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        retry_s = 0
        try:
            if scope["method"] == "GET":
                status, body = 200, self._handshake(scope)
            elif scope["method"] == "POST":
                status, body = 200, await self._delivery(scope, receive)
            else:
                raise Refusal(405, "this address takes GET (handshake) and POST (events)")
        except Refusal as refusal:
            refusal = self._limited(refusal, address_of(scope))
            status, body, retry_s = refusal.status, problem_of(refusal), refusal.retry_s
        if scope["method"] == "POST":
            self._count_answer(str(status)).inc()
        await send_answer(send, status, body, _more_headers(status, retry_s))

    def _limited(self, refusal: Refusal, address: str) -> Refusal:
        """Return the refusal, or 429 for an address that sends much junk."""
        if refusal.status >= 429:
            return refusal
        wait_s = self._admission.count_junk(address)
        # After 408 and 413 the connection must be closed, so these stay.
        return too_many(wait_s) if wait_s and refusal.status not in CLOSING else refusal

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
        headers = dict(scope["headers"])
        media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Refusal(415, f"takes application/json, not {media or 'a body without Content-Type'}")
        body = await read_body(headers, receive, BODY_LIMIT, BODY_WITHIN_S)
        began = time.perf_counter()
        signature = self._signature(headers.get(b"x-strava-signature"), body)
        try:
            await self._take(parse_event(body), signature, address_of(scope))
        except InvalidInput as problem:
            raise Refusal(400, str(problem)) from None
        except StorageUnavailable as problem:
            log.error("delivery_not_stored", error=str(problem))
            raise Refusal(503, "the event could not be stored; deliver it again", retry_s=60) from None
        self._metrics.acceptance.observe(time.perf_counter() - began)
        return ACCEPTED

    async def _take(self, event: StravaEvent, signature: Signature, address: str) -> None:
        """Store an event of a connected athlete; count one of an unknown athlete, or refuse too many."""
        wait_s = self._admission.unknown_wait_s(address)
        if wait_s and not await self._inbox.is_connected(event.owner_id):
            self._metrics.unknown_owners.inc()
            raise too_many(wait_s)
        crowded = signature != "verified" and self._admission.crowds(event.owner_id)
        result = await self._inbox.accept(event, signature, crowded=crowded)
        if result.verdict == "unknown_owner":
            self._metrics.unknown_owners.inc()
            self._admission.count_unknown(address)

    def _signature(self, header: bytes | None, body: bytes) -> Signature:
        if self._options.signature_mode == "off":
            return "absent"
        now, text = self._clock.now().timestamp(), None if header is None else header.decode("latin-1")
        verdict = verify(text, body, now=now, candidates=self._options.keys)
        self._count_signature(verdict.status, verdict.key_name or "").inc()
        if self._options.signature_mode == "enforce" and verdict.status != "verified":
            log.warning("signature_refused", status=verdict.status, reason=verdict.reason)
            reason = verdict.reason or "there is no X-Strava-Signature"
            raise Refusal(403, f"the signature is {verdict.status}: {reason}")
        return verdict.status


def address_of(scope: Scope) -> str:
    """Return the address of the client. uvicorn puts it there, by TRUSTED_PROXIES."""
    client = scope.get("client")
    return client[0] if client else ""


def too_many(wait_s: int) -> Refusal:
    """Return the refusal of a delivery beyond a limit."""
    return Refusal(429, "too many worthless deliveries from this address", retry_s=wait_s)


def _more_headers(status: int, retry_s: int) -> list[tuple[bytes, bytes]]:
    if status == 405:
        return [(b"allow", b"GET, POST")]
    return [(b"retry-after", str(retry_s).encode())] if retry_s else []


async def not_found(send: Send) -> None:
    """Answer the bare path with 404 when WEBHOOK_PATH_SECRET is set."""
    await refuse(send, Refusal(404, "there is nothing here"))
