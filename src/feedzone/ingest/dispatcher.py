"""Turns events into jobs: both are durable together, or neither is (guarantee 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from ..domain.backoff import LIST_HEAD_START
from ..domain.event import (
    BULK,
    MAX_DEBOUNCE,
    IgnoredBecause,
    Signature,
    StravaEvent,
    job_for,
    redacted,
    visible_update,
    without_own_call,
)
from ..domain.ids import uuid7
from ..domain.job import JobSpec, Lane, PlainHint, athlete_key
from ..store import activities, athletes, events, shown_updates, subscriptions, unknown_owners
from ..store.engine.database import Connection
from ..store.jobs import deferral, lifecycle
from ..store.shown_updates import Claim

LIST_FIRST_FROM = 6
"""New activities of one athlete that wait for their first fetch. From this number on, one list call goes
first: it shows up to 200 of them."""

NOT_CONNECTED = (None, "deauthorized")
"""The status of athletes whose events are only counted: unknown ones, and former ones."""


class Delivery(NamedTuple):
    """One delivery of an event, and what its signature proved."""

    event: StravaEvent
    signature: Signature
    crowded: bool = False
    """Whether it is past the limit of unproven events of its athlete (admission.py)."""


Verdict = Literal["accepted", "ignored", "duplicate", "unknown_owner"]


class AcceptResult(NamedTuple):
    """What became of a delivery."""

    event_id: str
    """Empty if no row was stored: the athlete is not connected."""
    verdict: Verdict


class _Judged(NamedTuple):
    """A delivery with its new id and the job it causes; without a job, the reason."""

    delivery: Delivery
    event_id: str
    spec: JobSpec | None
    ignored: IgnoredBecause | None


def accept(connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> list[AcceptResult]:
    """Store deliveries together with the jobs they cause: this transaction is the promise behind the 200.

    Events of unknown athletes are only counted.
    """
    status = athletes.statuses(connection, {delivery.event.owner_id for delivery in deliveries})
    known = [delivery for delivery in deliveries if status.get(delivery.event.owner_id) not in NOT_CONNECTED]
    new: set[str] = set()
    if judgements := _judge(connection, known, status, now) if known else []:
        gone = activities.tombstones(connection, {delivery.event.object_id for delivery in known})
        new = events.insert_new(connection, [_row(judged, now, gone) for judged in judgements])
    accepted = [judged for judged in judgements if judged.spec is not None and judged.event_id in new]
    _enqueue(connection, accepted, now)
    if len(known) < len(deliveries):
        of_unknown = Counter(delivery.event.owner_id for delivery in deliveries)
        for delivery in known:
            of_unknown.pop(delivery.event.owner_id, None)
        unknown_owners.add(connection, of_unknown, now)
    results = iter(judgements)
    return [
        AcceptResult("", "unknown_owner")
        if status.get(delivery.event.owner_id) in NOT_CONNECTED
        else _result(next(results), new)
        for delivery in deliveries
    ]


def replay(connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Store deliveries that were refused, except those of athletes who have left since."""
    status = athletes.statuses(connection, {delivery.event.owner_id for delivery in deliveries})
    known = [each for each in deliveries if status.get(each.event.owner_id) not in NOT_CONNECTED]
    if known:
        accept(connection, known, now)


def _result(judged: _Judged, new: set[str]) -> AcceptResult:
    if judged.event_id not in new:
        return AcceptResult(judged.event_id, "duplicate")
    return AcceptResult(judged.event_id, "ignored" if judged.ignored else "accepted")


def _judge(
    connection: Connection, deliveries: Sequence[Delivery], status: Mapping[int, str], now: datetime
) -> list[_Judged]:
    """Decide which job each delivery causes."""
    now_ms = int(now.timestamp() * 1000)
    active = subscriptions.active_ids(connection)
    updated = {event.object_id for event, *_ in deliveries if event.aspect_type == "update"}
    refetched = events.recently_refetched(connection, updated, now - MAX_DEBOUNCE) if updated else set()
    waiting_updates = events.pending_updates(connection, status) if updated else Counter()
    crowd = {event.object_id for event, _, crowded in deliveries if crowded}
    stored = activities.existing(connection, crowd) if crowd else set()
    judgements = []
    for delivery in deliveries:
        event, event_id = delivery.event, uuid7(now_ms)
        spec = job_for(
            event,
            event_id,
            delivery.signature,
            now,
            recently_refetched=event.object_id in refetched,
            in_bulk=waiting_updates[event.owner_id] >= BULK,
        )
        if delivery.crowded and spec is not None:
            spec = without_own_call(spec, now, is_stored=event.object_id in stored)
        waiting_updates[event.owner_id] += event.aspect_type == "update"
        ignored = _why_ignored(event, spec, active)
        judgements.append(_Judged(delivery, event_id, None if ignored else spec, ignored))
    return judgements


def _why_ignored(
    event: StravaEvent, spec: JobSpec | None, active_subscriptions: set[int]
) -> IgnoredBecause | None:
    """Return why this event causes no job. None: it causes one."""
    if active_subscriptions and event.subscription_id not in active_subscriptions:
        return "foreign_subscription"
    if not event.is_known_kind:
        return "unknown_kind"
    return "nothing_to_do" if spec is None else None


def _explanation(event: StravaEvent, ignored: IgnoredBecause | None) -> str | None:
    """Say to people why the event was ignored."""
    match ignored:
        case None:
            return None
        case "foreign_subscription":
            return f"subscription {event.subscription_id} is not ours"
        case "unknown_kind":
            return f"{event.object_type} {event.aspect_type}: a kind of event that feedzone does not know"
        case "nothing_to_do":
            return "nothing to do"


def _must_be_bare(event: StravaEvent, gone: Collection[int]) -> bool:
    """Return whether the event is stored without words (guarantee 6).

    Its activity is deleted; or nothing would remove the words when the object is deleted, because we do not
    know the kind of event.
    """
    is_of_gone = event.object_type == "activity" and event.object_id in gone
    return is_of_gone or not event.is_known_kind


def _row(judged: _Judged, now: datetime, gone: Collection[int]) -> dict[str, Any]:
    """Return the row of `webhook_events`. `gone`: the activities that are deleted."""
    event, ignored = judged.delivery.event, judged.ignored
    return {
        "id": judged.event_id,
        "event_data": redacted(event.raw) if _must_be_bare(event, gone) else event.raw,
        "status": "ignored" if ignored else "pending",
        "attempts": 0,
        "created_at": now,
        "processed_at": now if ignored else None,
        "error_message": _explanation(event, ignored),
        "ignored_because": ignored,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "aspect_type": event.aspect_type,
        "owner_id": event.owner_id,
        "subscription_id": event.subscription_id,
        "event_time": event.event_time,
        "dedup_key": event.dedup_key,
        "signature": judged.delivery.signature,
    }


def _enqueue(connection: Connection, judgements: Sequence[_Judged], now: datetime) -> None:
    """Enqueue the jobs of new events, link each event to its job, and show the updates that events carry."""
    work = {judged.event_id: judged.spec for judged in judgements if judged.spec is not None}
    if not work:
        return
    lifecycle.enqueue(connection, work.values(), now)
    keys = {spec.key for spec in work.values()} | {athlete_key(spec.athlete_id) for spec in work.values()}
    live = lifecycle.live(connection, keys)
    by_object = {(row.kind, row.key, row.athlete_id): row for row in live}
    jobs_of = {event_id: by_object[spec.kind, spec.key, spec.athlete_id] for event_id, spec in work.items()}
    events.link_jobs(connection, jobs_of)
    listing = {row.athlete_id for row in live if row.kind == "list_activities"}
    _list_first(connection, jobs_of.values(), listing, now)
    activities.mark_announced(
        connection, [spec for spec in work.values() if spec.kind == "refresh_activity"], now
    )
    claims = [claim for judged in judgements if (claim := _claim(judged, now)) is not None]
    if claims:
        shown_updates.show(connection, claims, now)
    athletes.note_events(connection, {spec.athlete_id for spec in work.values()}, now)


def _claim(judged: _Judged, now: datetime) -> Claim | None:
    """Return the values that an update event carries, unless its signature is wrong."""
    event, signature, _ = judged.delivery
    if judged.spec is None or signature == "mismatch":
        return None
    shown = visible_update(event, judged.event_id, now)
    return None if shown is None else Claim(shown, signature == "verified", judged.spec.lane)


def _list_first(connection: Connection, work: Collection[Any], listing: set[int], now: datetime) -> None:
    """Put off the jobs of new events where one list call can show many activities.

    `work`: the jobs of new events. `listing`: those of their athletes with a live list job already.
    """
    until = now + LIST_HEAD_START
    deferral.defer_new_for_list(connection, (row for row in work if row.athlete_id in listing), now, until)
    others = {row.athlete_id for row in work} - listing
    crowded = events.owners_with_backlog(connection, others, least=LIST_FIRST_FROM) if others else []
    if not crowded:
        return
    deferral.defer_for_list(connection, crowded, now, until)
    specs = [
        JobSpec("list_activities", athlete_key(athlete_id), athlete_id, PlainHint(), 0, Lane.LIVE, first=True)
        for athlete_id in crowded
    ]
    lifecycle.enqueue(connection, specs, now, unless_live=True)
