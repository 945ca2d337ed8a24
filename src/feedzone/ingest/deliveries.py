"""Stores deliveries: the transaction behind the answer 200 (guarantee 1).

It does nothing else. The event row is itself the work order: the dispatcher turns it into a job afterwards
(dispatcher.py), also after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from ..domain.event import Signature, StravaEvent, redacted
from ..domain.ids import uuid7
from ..store import activities, athletes, undispatched, unknown_owners
from ..store.engine.database import Connection
from ..store.undispatched import NewEvent

NOT_CONNECTED = (None, "deauthorized")
"""The status of athletes whose events are only counted: unknown ones, and former ones."""


class Delivery(NamedTuple):
    """One delivery of an event, and what its signature proved."""

    event: StravaEvent
    signature: Signature
    crowded: bool = False
    """Whether it is past the limit of unproven events of its athlete (admission.py)."""


Verdict = Literal["accepted", "duplicate", "unknown_owner"]


class AcceptResult(NamedTuple):
    """What became of a delivery."""

    event_id: str
    """Empty if no row was stored: the athlete is not connected."""
    verdict: Verdict


def accept(connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> list[AcceptResult]:
    """Store new events of connected athletes: this transaction is the promise behind the 200.

    Events of unknown athletes are only counted.
    """
    status = athletes.statuses(connection, {delivery.event.owner_id for delivery in deliveries})
    known = [each for each in deliveries if status.get(each.event.owner_id) not in NOT_CONNECTED]
    if len(known) < len(deliveries):
        of_unknown = Counter(delivery.event.owner_id for delivery in deliveries)
        for delivery in known:
            of_unknown.pop(delivery.event.owner_id, None)
        unknown_owners.add(connection, of_unknown, now)
    rows = _rows(connection, known, now)
    new = undispatched.insert(connection, rows, now) if rows else set()
    results = iter(rows)
    return [
        AcceptResult("", "unknown_owner")
        if status.get(delivery.event.owner_id) in NOT_CONNECTED
        else _result(next(results).id, new)
        for delivery in deliveries
    ]


def replay(connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Store deliveries that were refused, except those of athletes who have left since."""
    status = athletes.statuses(connection, {delivery.event.owner_id for delivery in deliveries})
    known = [each for each in deliveries if status.get(each.event.owner_id) not in NOT_CONNECTED]
    if known:
        accept(connection, known, now)


def _result(event_id: str, new: set[str]) -> AcceptResult:
    return AcceptResult(event_id, "accepted" if event_id in new else "duplicate")


def _rows(connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> list[NewEvent]:
    now_ms = int(now.timestamp() * 1000)
    wordy = {delivery.event.object_id for delivery in deliveries if delivery.event.has_words}
    gone = activities.tombstones(connection, wordy) if wordy else set()
    return [
        NewEvent(
            uuid7(now_ms),
            redacted(event.raw) if must_be_bare(event, gone) else event.raw,
            event.object_type,
            event.object_id,
            event.aspect_type,
            event.owner_id,
            event.subscription_id,
            event.event_time,
            event.dedup_key,
            signature,
            crowded,
        )
        for event, signature, crowded in deliveries
    ]


def must_be_bare(event: StravaEvent, gone: Collection[int]) -> bool:
    """Return whether the event is stored without words (guarantee 6).

    Its activity is deleted; or nothing would remove the words when the object is deleted, because we do not
    know the kind of event.
    """
    is_of_gone = event.object_type == "activity" and event.object_id in gone
    return is_of_gone or not event.is_known_kind
