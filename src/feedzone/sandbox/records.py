"""What the sandbox remembers for whoever checks a client afterwards: calls, events and deliveries."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One API or token request as it was answered. Status 0: the connection broke instead."""

    at: float
    method: str
    path: str
    athlete_id: int | None
    status: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something Strava announces (contract section 9); values in `updates` are strings."""

    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    event_time: int
    updates: dict[str, Any] = field(default_factory=dict)

    def payload(self, subscription_id: int) -> dict[str, Any]:
        """The body that is delivered."""
        return {
            "object_type": self.object_type,
            "object_id": self.object_id,
            "aspect_type": self.aspect_type,
            "owner_id": self.owner_id,
            "subscription_id": subscription_id,
            "event_time": self.event_time,
            "updates": self.updates,
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver event number `event`; status 0 when nothing answered in time.

    `outcome` is delivered, failed (another attempt follows), given_up, dropped (lost on purpose) or
    no_subscription.
    """

    event: int
    attempt: int
    at: float
    status: int
    outcome: str


class Journal:
    """Counters that never forget, and lists that keep the newest entries."""

    def __init__(self, keep: int) -> None:
        self.calls: deque[Call] = deque(maxlen=keep)
        self.events: deque[tuple[int, Event]] = deque(maxlen=keep)
        self.deliveries: deque[Delivery] = deque(maxlen=keep)
        self.by_endpoint: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.over_limit = 0
        self.event_count = 0

    @property
    def answered_429(self) -> int:
        """How many requests were answered 429."""
        return self.by_status[429]

    def call(self, endpoint: str, call: Call) -> None:
        """Remember a request."""
        self.calls.append(call)
        self.by_endpoint[endpoint] += 1
        self.by_status[call.status] += 1

    def event(self, event: Event) -> int:
        """Remember an event; its number."""
        self.event_count += 1
        self.events.append((self.event_count, event))
        return self.event_count

    def delivery(self, delivery: Delivery) -> None:
        """Remember a delivery attempt."""
        self.deliveries.append(delivery)
        self.outcomes[delivery.outcome] += 1
