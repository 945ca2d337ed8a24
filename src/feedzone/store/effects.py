"""Writes what handlers decided (domain/effect.py), inside the transaction that completes their job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import assert_never

from msgspec import structs
from sqlalchemy import Connection

from ..domain.activity import ActivityRecord
from ..domain.athlete import wants_details
from ..domain.effect import (
    AskForPhotos,
    ConfirmRevoke,
    Effect,
    FinishListing,
    KeepSummary,
    MarkAthlete,
    NoteFailure,
    OpenConflict,
    PurgeAthlete,
    RecordRejectedClaim,
    StoreAnnounced,
    StoreDetail,
    StoreGear,
    StorePage,
    StorePhotos,
    StoreReconciliation,
    StoreStreams,
    Tombstone,
)
from ..domain.job import JobSpec, Lane, activity_key
from . import activities, athletes, gear, photos, purge, reconciliations, streams
from .jobs import deferral, lifecycle


def apply(connection: Connection, effects: Iterable[Effect], now: datetime) -> None:
    for effect in effects:
        _apply(connection, effect, now)


def _apply(connection: Connection, effect: Effect, now: datetime) -> None:
    match effect:
        case StoreDetail():
            _store_detail(connection, effect, now)
        case StoreStreams():
            streams.store(connection, effect, now)
            activities.finish(connection, effect.activity_id, now)
            athletes.note_synced(connection, effect.athlete_id, now)
        case AskForPhotos():
            photos.ask(connection, effect, now)
        case StorePhotos():
            photos.store(connection, effect, now)
        case Tombstone(activity_id=activity_id, athlete_id=athlete_id, cause=cause):
            activities.tombstone(connection, activity_id, athlete_id, cause, now)
            athletes.complete_sync(connection, athlete_id, now)
        case NoteFailure(activity_id=activity_id, athlete_id=athlete_id, error=error, final=final):
            activities.note_failure(connection, activity_id, error, final=final, now=now)
            athletes.complete_sync(connection, athlete_id, now)
        case StorePage():
            _store_page(connection, effect, now)
        case StoreAnnounced():
            _store_announced(connection, effect, now)
        case KeepSummary(activity_id=activity_id, athlete_id=athlete_id):
            activities.keep_summary(connection, activity_id, now)
            athletes.complete_sync(connection, athlete_id, now)
        case StoreReconciliation():
            _store_sweep(connection, effect, now)
        case OpenConflict(athlete_id=athlete_id, missing=missing, stored=stored):
            reconciliations.open_conflict(connection, athlete_id, missing, stored, now)
        case FinishListing(athlete_id=athlete_id):
            athletes.finish_listing(connection, athlete_id, now)
        case StoreGear(gear=told):
            gear.store(connection, told, now)
        case MarkAthlete(athlete_id=athlete_id, status=status, reason=reason):
            athletes.mark(connection, athlete_id, status, reason, now)
        case RecordRejectedClaim():
            purge.count_forged(connection, effect, now)
        case PurgeAthlete():
            purge.purge(connection, effect, now)
        case ConfirmRevoke(athlete_id=athlete_id, detail=detail, revoked=revoked):
            purge.note_revoke(connection, athlete_id, detail, now if revoked else None)
        case _:
            assert_never(effect)


def _store_detail(connection: Connection, told: StoreDetail, now: datetime) -> None:
    activities.store(
        connection,
        told.record,
        cause=told.cause,
        received_at=told.received_at,
        status="synced" if told.complete else "syncing",
        now=now,
        event_time=told.event_time,
    )
    if told.complete:
        athletes.note_synced(connection, told.record.athlete_id, now)
    else:
        streams.mark_stale(connection, told.record.id)


def _store_page(connection: Connection, page: StorePage, now: datetime) -> None:
    listed = _store_list(connection, page.athlete_id, page.records, page.jobs, "backfill", now)
    found = listed.new if page.again else page.records
    athletes.advance_sync(connection, page.athlete_id, int(not page.again), len(found), now)


def _store_announced(connection: Connection, page: StoreAnnounced, now: datetime) -> None:
    lifecycle.lock(connection, (spec.key for spec in page.jobs))
    new = activities.compare(connection, page.records, now).new
    wanted = _store_new(connection, page.athlete_id, new, "event", now)
    # Whatever was announced has its job.
    lifecycle.enqueue(connection, (spec for spec in page.jobs if spec.key in wanted), now, unless_live=True)
    deferral.resume_after_list(connection, page.athlete_id, now)


def _store_sweep(connection: Connection, sweep: StoreReconciliation, now: datetime) -> None:
    specs = (*sweep.jobs, *sweep.missing)
    found = _store_list(
        connection, sweep.athlete_id, sweep.records, specs, "reconciliation", now, given_up=sweep.full
    )
    lifecycle.enqueue(connection, sweep.missing, now)
    reconciliations.note(connection, sweep, found, now)
    if sweep.full:
        reconciliations.settle(connection, sweep, now)
    if sweep.full and sweep.last:
        athletes.note_verified(connection, sweep.athlete_id, now)


def _store_list(
    connection: Connection,
    athlete_id: int,
    records: tuple[ActivityRecord, ...],
    specs: tuple[JobSpec, ...],
    cause: str,
    now: datetime,
    *,
    given_up: bool = True,
) -> activities.Comparison:
    """New rows appear at once from their summaries; only what differs from what we hold causes a fetch.

    A row that we hold is not overwritten by a summary: it may be older than the last detail. What waits as
    part of a history keeps its place: a comparison that finds it has learned nothing new.
    """
    lanes = lifecycle.lock(connection, (spec.key for spec in specs))
    found = activities.compare(connection, records, now, given_up=given_up)
    wanted = _store_new(connection, athlete_id, found.new, cause, now)
    activities.mark_pending(connection, (record.id for record in found.changed), now)
    wanted |= {activity_key(record.id) for record in found.changed}
    waits = {key for key, lane in lanes.items() if lane is Lane.BACKFILL}
    placed = (structs.replace(spec, lane=Lane.BACKFILL) if spec.key in waits else spec for spec in specs)
    lifecycle.enqueue(connection, (spec for spec in placed if spec.key in wanted), now)
    return found


def _store_new(
    connection: Connection, athlete_id: int, new: Sequence[ActivityRecord], cause: str, now: datetime
) -> set[str]:
    """Rows from summaries; returns the keys of those whose details are wanted."""
    sports = athletes.wanted_sports(connection, athlete_id) if new else None
    keys = set()
    for record in new:
        wanted = wants_details(sports, record.columns.get("sport_type"))
        status = "pending" if wanted else "synced"
        activities.store(connection, record, cause=cause, received_at=None, status=status, now=now)
        if wanted:
            keys.add(activity_key(record.id))
    return keys
