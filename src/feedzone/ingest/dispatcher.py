"""Turns stored events into jobs, in batches (after the answer to Strava, which only stores them).

The event row is the work order: what a crash undoes is dispatched by the next batch, at the latest by the
first one after the next start. Any number of processes dispatch beside each other; an object's events keep
their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import structlog

from ..domain.backoff import LIST_HEAD_START
from ..domain.event import (
    BULK,
    MAX_DEBOUNCE,
    IgnoredBecause,
    StravaEvent,
    job_for,
    stored_updates,
    visible_update,
    without_own_call,
)
from ..domain.job import JobSpec, Lane, PlainHint, athlete_key
from ..errors import StorageUnavailable, reason_of
from ..ports import Clock, Wakeup
from ..store import activities, athletes, events, shown_updates, subscriptions, undispatched, unknown_owners
from ..store.engine.database import Connection, Database, Row
from ..store.jobs import deferral, lifecycle
from ..store.shown_updates import Claim
from .deliveries import NOT_CONNECTED

log = structlog.get_logger("feedzone.dispatcher")

BATCH = 128
"""Events that are dispatched in one transaction. On SQLite, deliveries wait for its end."""

AGAIN_S = 0.05
"""How soon to look again for an event whose predecessor another process is dispatching."""

GAP_S = 0.005
"""The pause after a full batch: SQLite lets nobody in between two transactions that follow each other."""

LIST_FIRST_FROM = 6
"""New activities of one athlete that wait for their first fetch. From this number on, one list call goes
first: it shows up to 200 of them."""


class Batch(NamedTuple):
    """What one transaction did."""

    dispatched: int
    is_partial: bool
    """Whether events were left to another process, or for later."""


class _Judged(NamedTuple):
    """A stored event, and the job that it causes; without a job, the reason."""

    row: Row[Any]
    event: StravaEvent
    spec: JobSpec | None
    ignored: IgnoredBecause | None


Claiming = Callable[[Connection], undispatched.Claim]


class Dispatcher:
    """Dispatches what is stored: when a commit wakes it, at its start, and every `look_every_s` seconds.

    The last of these finds the events of processes that died, or that could not wake this one.
    """

    def __init__(
        self, database: Database, clock: Clock, arrivals: Wakeup, work: Wakeup, *, look_every_s: float
    ) -> None:
        self._database = database
        self._clock = clock
        self._arrivals = arrivals
        self._work = work
        self._look_every_s = look_every_s
        self._is_first = True

    async def run_once(self) -> int:
        """Dispatch all events that wait; return how many."""
        if self._is_first:
            # What this version cannot dispatch, the next one perhaps can.
            if await self._database.read(undispatched.count_set_aside):
                await undispatched.take_up(self._database)
            self._is_first = False
        total = 0
        # A read blocks nobody; a batch on SQLite blocks the transactions that store events.
        while await self._database.read(undispatched.any_waiting):
            batch = await self._batch()
            total += batch.dispatched
            if not batch.dispatched and not batch.is_partial:
                break
            if batch.is_partial:
                await self._clock.sleep(AGAIN_S)
            elif batch.dispatched == BATCH:
                await self._clock.sleep(GAP_S)
        return total

    async def pause(self) -> None:
        """Wait until a delivery was stored, but not for longer than to the next look."""
        await self._arrivals.wait(self._look_every_s)

    async def _batch(self) -> Batch:
        """Dispatch the events that wait longest. If the batch fails, dispatch them one by one."""
        try:
            return await self._write(partial(undispatched.claim, most=BATCH))
        except StorageUnavailable:
            raise
        except Exception:
            log.exception("batch_failed")
        waiting = await self._database.read(partial(undispatched.waiting, most=BATCH))
        count = 0
        for event_id in waiting:
            count += await self._one(event_id)
        return Batch(count, is_partial=False)

    async def _one(self, event_id: str) -> int:
        """Dispatch one event; set it aside if that fails. Return whether it waits no more."""
        try:
            return (await self._write(partial(undispatched.claim_one, event_id=event_id))).dispatched
        except StorageUnavailable:
            raise
        except Exception as problem:
            log.exception("event_not_dispatched", id=event_id)
            reason = reason_of(problem)
        now = self._clock.now()
        await self._database.write(lambda c: set_aside(c, event_id, reason, now))
        return 1

    async def _write(self, claiming: Claiming) -> Batch:
        now = self._clock.now()
        # Not durable by itself: after a power failure the events wait again.
        batch = await self._database.write(lambda c: dispatch(c, claiming(c), now), durable=False)
        if batch.dispatched:
            self._work.notify()
        return batch


def set_aside(connection: Connection, event_id: str, reason: str, now: datetime) -> None:
    """Mark an event as failed that cannot be dispatched, and have its athlete compared with Strava soon."""
    owner = undispatched.set_aside(connection, event_id, f"could not be dispatched: {reason}", now)
    if owner is not None:
        athletes.note_lost_delivery(connection, owner, now)


def dispatch(connection: Connection, claim: undispatched.Claim, now: datetime) -> Batch:
    """Enqueue the jobs of these events, link the events to them, and show the updates that they carry."""
    status = athletes.statuses(connection, {row.owner_id for row in claim.rows}, wait=False)
    rows = [row for row in claim.rows if status.get(row.owner_id) not in NOT_CONNECTED]
    others = [row for row in claim.rows if status.get(row.owner_id) in NOT_CONNECTED]
    waits = _remove_departed(connection, others, now)
    if rows:
        judgements = _judge(connection, rows, set(status))
        undispatched.ignore(
            connection,
            {
                each.row.id: (each.ignored, _explanation(each.event, each.ignored))
                for each in judgements
                if each.ignored is not None
            },
            now,
        )
        _enqueue(connection, [each for each in judgements if each.spec is not None], now)
    return Batch(len(claim.rows) - waits, claim.is_partial or waits > 0)


def _remove_departed(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> int:
    """Remove and count the events of athletes who are not connected; return how many must wait.

    A departure that is being stored locks its athlete: their events are gone, or wait, after its end.
    """
    if not rows:
        return 0
    free = athletes.statuses_now(connection, {row.owner_id for row in rows})
    departed = [row for row in rows if free.get(row.owner_id) in NOT_CONNECTED]
    if departed:
        undispatched.remove(connection, [row.id for row in departed])
        unknown_owners.add(connection, Counter(row.owner_id for row in departed), now)
    return len(rows) - len(departed)


def _event(row: Row[Any]) -> StravaEvent:
    """Return the event of a stored row."""
    return StravaEvent(
        row.object_type,
        row.object_id,
        row.aspect_type,
        row.owner_id,
        row.subscription_id,
        row.event_time,
        stored_updates(row.event_data) if row.aspect_type == "update" else {},
        row.event_data,
    )


def _judge(connection: Connection, rows: Sequence[Row[Any]], owners: Collection[int]) -> list[_Judged]:
    """Decide which job each event causes."""
    active = subscriptions.active_ids(connection)
    read = [(row, _event(row)) for row in rows]
    updated = {row.object_id for row in rows if row.aspect_type == "update"}
    since = max(row.created_at for row in rows) - MAX_DEBOUNCE
    refetched = events.recently_refetched(connection, updated, since) if updated else set()
    waiting_updates = events.pending_updates(connection, owners) if updated else Counter[int]()
    crowd = {row.object_id for row in rows if row.crowded}
    stored = activities.existing(connection, crowd) if crowd else set()
    judgements = []
    for row, event in read:
        spec = job_for(
            event,
            row.id,
            row.signature,
            row.created_at,
            recently_refetched=event.object_id in refetched,
            in_bulk=waiting_updates[event.owner_id] >= BULK,
        )
        if row.crowded and spec is not None:
            spec = without_own_call(spec, row.created_at, is_stored=event.object_id in stored)
        waiting_updates[event.owner_id] += event.aspect_type == "update"
        ignored = _why_ignored(event, spec, active)
        judgements.append(_Judged(row, event, None if ignored else spec, ignored))
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


def _explanation(event: StravaEvent, ignored: IgnoredBecause) -> str:
    """Say to people why the event was ignored."""
    match ignored:
        case "foreign_subscription":
            return f"subscription {event.subscription_id} is not ours"
        case "unknown_kind":
            return f"{event.object_type} {event.aspect_type}: a kind of event that feedzone does not know"
        case "nothing_to_do":
            return "nothing to do"


def _enqueue(connection: Connection, judgements: Sequence[_Judged], now: datetime) -> None:
    """Enqueue the jobs of new events, link each event to its job, and show the updates that events carry."""
    work = {judged.row.id: judged.spec for judged in judgements if judged.spec is not None}
    if not work:
        return
    lifecycle.enqueue(connection, work.values(), now)
    keys = {spec.key for spec in work.values()} | {athlete_key(spec.athlete_id) for spec in work.values()}
    live = lifecycle.live(connection, keys)
    by_object = {(row.kind, row.key, row.athlete_id): row for row in live}
    jobs_of = {event_id: by_object[spec.kind, spec.key, spec.athlete_id] for event_id, spec in work.items()}
    undispatched.link_jobs(connection, jobs_of)
    listing = {row.athlete_id for row in live if row.kind == "list_activities"}
    _list_first(connection, jobs_of.values(), listing, now)
    announced = [
        each for each in judgements if each.spec is not None and each.spec.kind == "refresh_activity"
    ]
    received = {(each.event.owner_id, each.event.object_id): each.row.created_at for each in announced}
    activities.mark_announced(connection, received, now)
    claims = [claim for judged in judgements if (claim := _claim(judged)) is not None]
    if claims:
        shown_updates.show(connection, claims, now)
    athletes.note_events(connection, {each.event.owner_id: each.row.created_at for each in judgements})


def _claim(judged: _Judged) -> Claim | None:
    """Return the values that an update event carries, unless its signature is wrong."""
    if judged.spec is None or judged.row.signature == "mismatch":
        return None
    shown = visible_update(judged.event, judged.row.id, judged.row.created_at)
    return None if shown is None else Claim(shown, judged.row.signature == "verified", judged.spec.lane)


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
