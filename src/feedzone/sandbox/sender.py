"""Delivers events to the subscription's callback as Strava does (contract section 9).

200 within two seconds is a delivery; otherwise there are three attempts in total, about a minute apart, and
then the event is gone. Each delivery is its own task: a slow callback delays nobody else's event.
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
    """How the sandbox reaches a callback. Any exception counts as no answer."""

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        """Send an event; the status of the answer."""

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        """The handshake's GET; status, content type and body of the answer."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """Attempts in total, seconds between them (62 to 75 were seen), and seconds a callback may take."""

    attempts: int = 3
    spacing_s: float = 65.0
    timeout_s: float = 2.0


class Sender:
    """Takes the world's events and delivers them while it is running; safe to start and stop twice.

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
        """Events that are not yet delivered or given up."""
        return len(self._tasks) + len(self._waiting)

    async def start(self) -> None:
        """Begin to deliver, what has waited first."""
        self._running = True
        self.world.on_event = self._take
        waiting, self._waiting = self._waiting, []
        for number, event in waiting:
            self._take(number, event)

    async def stop(self) -> None:
        """Cancel what is under way and return when it has ended."""
        self._running = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Return when every delivery has ended, retries included."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _take(self, number: int, event: Event) -> None:
        if not self._running:
            self._waiting.append((number, event))
            return
        delays = self.world.faults.delivery_delays(self.world.delivery_rng)
        if not delays:
            self._note(number, 0, 0, "dropped")
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
                self._note(number, attempt, 0, "no_subscription")
                return
            body = msgspec.json.encode(event.payload(subscription.id))
            status = await self._post(subscription.callback_url, body)
            if status == 200:
                self._note(number, attempt, status, "delivered")
                return
            self._note(number, attempt, status, "failed" if attempt < self.rules.attempts else "given_up")

    async def _post(self, url: str, body: bytes) -> int:
        headers = {"content-type": "application/json", "user-agent": "feedzone-sandbox"}
        if secret := self.world.application.signing_secret:
            headers["x-strava-signature"] = signature(secret, int(self.world.clock()), body)
        try:
            return await self.wire.post(url, body, headers, self.rules.timeout_s)
        except Exception:  # whatever went wrong over there, it was not a 200
            return 0

    def _note(self, number: int, attempt: int, status: int, outcome: str) -> None:
        self.world.journal.delivery(Delivery(number, attempt, self.world.clock(), status, outcome))


def signature(secret: str, at: int, body: bytes) -> str:
    """The `X-Strava-Signature` value for this body (contract section 9)."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
