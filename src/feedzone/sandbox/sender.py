"""Delivers events to the subscription's callback as Strava does (docs/strava-api.md#webhook-events).

A 200 within two seconds ends a delivery. Otherwise there are three attempts in total, about a minute apart,
and then the event is lost. Each delivery is its own task, so that a slow callback delays no other event.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from .records import Delivery, Event
from .world import World

Sleep = Callable[[float], Awaitable[None]]


class Wire(Protocol):
    """The client with which the sandbox calls a callback. Any exception counts as no response."""

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        """Send an event; return the status of the response."""

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        """Send the GET of the handshake; return status, content type and body."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """Attempts in total, seconds between them (Strava takes 62 to 75), and the callback's time limit."""

    attempts: int = 3
    spacing_s: float = 65.0
    timeout_s: float = 2.0


class Sender:
    """Delivers the world's events while it is running; safe to start and stop twice.

    Events that happen while it is stopped wait until it starts.
    """

    def __init__(self, world: World, wire: Wire, sleep: Sleep = asyncio.sleep,
                 rules: DeliveryRules | None = None) -> None:  # fmt: skip
        self.world = world
        self.wire = wire
        self.sleep = sleep
        self.rules = rules or DeliveryRules()
        self._waiting: list[tuple[int, Event]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    @property
    def pending(self) -> int:
        """Return the number of events that are neither delivered nor lost."""
        return len(self._tasks) + len(self._waiting)

    async def start(self) -> None:
        """Start to deliver, beginning with the waiting events."""
        self._running = True
        self.world.on_event = self._enqueue
        waiting, self._waiting = self._waiting, []
        for number, event in waiting:
            self._enqueue(number, event)

    async def stop(self) -> None:
        """Cancel all deliveries and return when they have ended."""
        self._running = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until every delivery has ended, including its retries."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _enqueue(self, number: int, event: Event) -> None:
        if not self._running:
            self._waiting.append((number, event))
            return
        delays = self.world.faults.delivery_delays(self.world.delivery_rng)
        if not delays:
            self._record(number, 0, 0, "dropped")
        for delay in delays:
            task = asyncio.get_running_loop().create_task(self._deliver(number, event, delay))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, number: int, event: Event, delay: float) -> None:
        if delay:
            await self.sleep(delay)
        for attempt in range(1, self.rules.attempts + 1):
            if attempt > 1:
                await self.sleep(self.rules.spacing_s)
            subscription = self.world.subscription
            if subscription is None:
                self._record(number, attempt, 0, "no_subscription")
                return
            body = msgspec.json.encode(event.payload(subscription.id))
            status = await self._post(subscription.callback_url, body)
            if status == 200:
                self._record(number, attempt, status, "delivered")
                return
            self._record(number, attempt, status, "failed" if attempt < self.rules.attempts else "given_up")

    async def _post(self, url: str, body: bytes) -> int:
        headers = {"content-type": "application/json", "user-agent": "feedzone-sandbox"}
        if secret := self.world.application.signing_secret:
            headers["x-strava-signature"] = signature(secret, int(self.world.clock()), body)
        try:
            return await self.wire.post(url, body, headers, self.rules.timeout_s)
        except Exception:  # every failure of the callback counts the same: it was not a 200
            return 0

    def _record(self, number: int, attempt: int, status: int, outcome: str) -> None:
        self.world.journal.add_delivery(Delivery(number, attempt, self.world.clock(), status, outcome))


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the `X-Strava-Signature` header for this body."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
