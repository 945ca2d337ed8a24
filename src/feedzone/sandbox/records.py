"""The sandbox's record of calls, events and deliveries, for tests that check a client afterwards."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """An API or token request with the status of its response; 0 if the connection broke."""

    at: float
    method: str
    path: str
    athlete_id: int | None
    status: int


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook event; values in `updates` are strings (docs/strava-api.md#webhook-events)."""

    object_type: str
    object_id: int
    aspect_type: str
    owner_id: int
    event_time: int
    updates: dict[str, Any] = field(default_factory=dict)

    def payload(self, subscription_id: int) -> dict[str, Any]:
        """Return the body of the delivery."""
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
    """An attempt to deliver event number `event`; status 0 if no response came in time.

    `outcome` is delivered, failed (another attempt follows), given_up, dropped (lost on purpose) or
    no_subscription.
    """

    event: int
    attempt: int
    at: float
    status: int
    outcome: str


class Journal:
    """Counters of everything since the start, and lists of the newest entries."""

    def __init__(self, size: int) -> None:
        self.calls: deque[Call] = deque(maxlen=size)
        self.events: deque[tuple[int, Event]] = deque(maxlen=size)
        self.deliveries: deque[Delivery] = deque(maxlen=size)
        self.by_endpoint: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.over_limit = 0
        self.event_count = 0

    @property
    def answered_429(self) -> int:
        """Return the number of requests that got 429."""
        return self.by_status[429]

    def add_call(self, endpoint: str, call: Call) -> None:
        """Record a request."""
        self.calls.append(call)
        self.by_endpoint[endpoint] += 1
        self.by_status[call.status] += 1

    def add_event(self, event: Event) -> int:
        """Record an event and return its number."""
        self.event_count += 1
        self.events.append((self.event_count, event))
        return self.event_count

    def add_delivery(self, delivery: Delivery) -> None:
        """Record a delivery attempt."""
        self.deliveries.append(delivery)
        self.outcomes[delivery.outcome] += 1
