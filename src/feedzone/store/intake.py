"""The inbox's transaction: events and the jobs they cause, durable together or not at all (guarantee 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from ..domain.event import BULK, MAX_DEBOUNCE, Signature, StravaEvent, job_for, redacted, visible_update
from ..domain.ids import uuid7
from ..domain.job import JobSpec, Lane, ListHint, athlete_key
from . import activities, athletes, events, subscriptions
from .engine.dialect import insert_for
from .jobs import deferral, lifecycle
from .schema.tables import jobs as jobs_table
from .schema.tables import webhook_events

# Statements of every delivery's way are built once: to build one takes longer than to run it.
_job = jobs_table.c
_LIVE_JOBS = select(
    _job.id, _job.kind, _job.key, _job.athlete_id, _job.version, _job.state, _job.priority, _job.due_at
).where(_job.key.in_(bindparam("keys", expanding=True)), _job.state != "dead")
_LINK = (
    update(webhook_events)
    .where(webhook_events.c.id == bindparam("event"))
    .values(job_id=bindparam("job"), job_version=bindparam("version"))
)


@cache
def _insert_new(dialect: str) -> Any:
    statement = insert_for(dialect, webhook_events).on_conflict_do_nothing(index_elements=["dedup_key"])
    return statement.returning(webhook_events.c.id)


class Delivery(NamedTuple):
    """One delivery of an event, and what its signature proved."""

    event: StravaEvent
    signature: Signature


Verdict = Literal["accepted", "ignored", "duplicate"]


class AcceptResult(NamedTuple):
    """What became of a delivery."""

    event_id: str
    verdict: Verdict


def accept(connection: Connection, deliveries: Sequence[Delivery], now: datetime) -> list[AcceptResult]:
    """Store deliveries together with the jobs they cause: this transaction is the promise behind the 200."""
    now_ms = int(now.timestamp() * 1000)
    status = athletes.statuses(connection, {delivery.event.owner_id for delivery in deliveries})
    ours = subscriptions.active_ids(connection)
    updated = {event.object_id for event, _ in deliveries if event.aspect_type == "update"}
    storms = events.recently_refetched(connection, updated, now - MAX_DEBOUNCE) if updated else set()
    waiting_updates = events.pending_updates(connection, status) if updated else Counter()
    rows, specs = [], {}
    for event, signature in deliveries:
        event_id = uuid7(now_ms)
        in_bulk = waiting_updates[event.owner_id] >= BULK
        spec = job_for(
            event, event_id, signature, now, recently_refetched=event.object_id in storms, in_bulk=in_bulk
        )
        waiting_updates[event.owner_id] += event.aspect_type == "update"
        ignored = _why_ignored(event, status, ours, spec)
        specs[event_id] = (event, signature, None if ignored else spec)
        # Of who has left or never came, nothing is kept that later events tell of them (guarantee 6).
        stranger = event.object_type == "activity" and not _is_connected(event, status)
        kept = redacted(event.raw) if stranger else event.raw
        rows.append(_values(event, signature, event_id, now, ignored, kept))
    new = set(connection.execute(_insert_new(connection.dialect.name), rows).scalars())
    _cause_work(connection, {key: value for key, value in specs.items() if key in new}, now)
    return [
        AcceptResult(
            row["id"],
            "duplicate" if row["id"] not in new else "ignored" if row["error_message"] else "accepted",
        )
        for row in rows
    ]


def _is_connected(event: StravaEvent, status: dict[int, str]) -> bool:
    return status.get(event.owner_id) not in (None, "deauthorized")


def _why_ignored(
    event: StravaEvent, status: dict[int, str], ours: set[int], spec: JobSpec | None
) -> str | None:
    if ours and event.subscription_id not in ours:
        return f"subscription {event.subscription_id} is not ours"
    if not _is_connected(event, status):
        return f"athlete {event.owner_id} is not connected"
    return "nothing to do" if spec is None else None


def _values(
    event: StravaEvent, signature: Signature, event_id: str, now: datetime, ignored: str | None, kept: str
) -> dict[str, Any]:
    return {
        "id": event_id,
        "event_data": kept,
        "status": "ignored" if ignored else "pending",
        "attempts": 0,
        "created_at": now,
        "processed_at": now if ignored else None,
        "error_message": ignored,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "aspect_type": event.aspect_type,
        "owner_id": event.owner_id,
        "subscription_id": event.subscription_id,
        "event_time": event.event_time,
        "dedup_key": event.dedup_key,
        "signature": signature,
    }


LIST_FIRST_FROM = 6
"""So many announced activities of one athlete that wait: one list call shows up to 200 of them."""


LIST_HEAD_START = timedelta(seconds=2)
"""How long the fetches wait for the list."""


def _list_first(connection: Connection, work: Collection[Any], listing: set[int], now: datetime) -> None:
    """`work`: the jobs of new events; `listing`: those of their athletes of whom a list is about to come."""
    until = now + LIST_HEAD_START
    deferral.defer_new_for_list(connection, (row for row in work if row.athlete_id in listing), now, until)
    others = {row.athlete_id for row in work} - listing
    crowd = events.owners_with_backlog(connection, others, least=LIST_FIRST_FROM) if others else []
    if not crowd:
        return
    deferral.defer_for_list(connection, crowd, now, until)
    specs = [
        JobSpec("list_activities", athlete_key(number), number, ListHint(), 0, Lane.LIVE, 0, first=True)
        for number in crowd
    ]
    lifecycle.enqueue(connection, specs, now, unless_live=True)


def _cause_work(
    connection: Connection,
    accepted: dict[str, tuple[StravaEvent, Signature, JobSpec | None]],
    now: datetime,
) -> None:
    """Enqueue the jobs of new events, link each event to its job, and show at once what can be shown."""
    work = {event_id: spec for event_id, (_, _, spec) in accepted.items() if spec is not None}
    if not work:
        return
    lifecycle.enqueue(connection, work.values(), now)
    keys = {spec.key for spec in work.values()} | {athlete_key(spec.athlete_id) for spec in work.values()}
    live = connection.execute(_LIVE_JOBS, {"keys": sorted(keys)}).all()
    found = {(row.kind, row.key, row.athlete_id): row for row in live}
    jobs_of = {event_id: found[spec.kind, spec.key, spec.athlete_id] for event_id, spec in work.items()}
    connection.execute(
        _LINK,
        [{"event": name, "job": row.id, "version": row.version} for name, row in jobs_of.items()],
    )
    listing = {row.athlete_id for row in live if row.kind == "list_activities"}
    _list_first(connection, jobs_of.values(), listing, now)
    activities.mark_announced(
        connection, [spec for spec in work.values() if spec.kind == "refresh_activity"], now
    )
    for event_id in work:
        event, signature, _ = accepted[event_id]
        shown = visible_update(event, event_id, now) if signature != "mismatch" else None
        if shown is not None:
            activities.apply_visible_update(connection, shown, now)
    athletes.note_events(connection, {spec.athlete_id for spec in work.values()}, now)
