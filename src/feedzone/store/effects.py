"""Writes what handlers decided (domain/effect.py), inside the transaction that completes their job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from sqlalchemy import Connection

from ..domain.effect import (
    ConfirmRevoke,
    CountForged,
    Effect,
    FinishListing,
    MarkAthlete,
    NoteFailure,
    PurgeAthlete,
    StoreDetail,
    StorePage,
    StoreStreams,
    Tombstone,
)
from . import activities, athletes, departures, jobs, streams


def apply(connection: Connection, effects: Iterable[Effect], now: datetime) -> None:
    for effect in effects:
        _apply(connection, effect, now)


def _apply(connection: Connection, effect: Effect, now: datetime) -> None:
    match effect:
        case StoreDetail(record=record, cause=cause, received_at=received_at, complete=complete):
            status = "synced" if complete else "syncing"
            activities.store(connection, record, cause=cause, received_at=received_at, status=status, now=now)
            if complete:
                athletes.note_synced(connection, record.athlete_id, now)
        case StoreStreams():
            streams.store(connection, effect, now)
            activities.finish(connection, effect.activity_id, now)
            athletes.note_synced(connection, effect.athlete_id, now)
        case Tombstone(activity_id=activity_id, athlete_id=athlete_id, cause=cause):
            activities.bury(connection, activity_id, athlete_id, cause, now)
            athletes.complete_sync(connection, athlete_id, now)
        case NoteFailure(activity_id=activity_id, athlete_id=athlete_id, error=error, final=final):
            activities.note_failure(connection, activity_id, error, final=final, now=now)
            athletes.complete_sync(connection, athlete_id, now)
        case StorePage():
            _store_page(connection, effect, now)
        case FinishListing(athlete_id=athlete_id):
            athletes.finish_listing(connection, athlete_id, now)
        case MarkAthlete(athlete_id=athlete_id, status=status, reason=reason):
            athletes.mark(connection, athlete_id, status, reason, now)
        case CountForged():
            departures.count_forged(connection, effect, now)
        case PurgeAthlete():
            departures.purge(connection, effect, now)
        case ConfirmRevoke(athlete_id=athlete_id, detail=detail):
            departures.confirm_revoke(connection, athlete_id, detail, now)
        case _:
            assert_never(effect)


def _store_page(connection: Connection, page: StorePage, now: datetime) -> None:
    """Rows appear at once from the summaries; only what differs from what we hold causes a fetch."""
    jobs.lock(connection, (job.key for job in page.jobs))
    wanted = {record.id for record in activities.differing(connection, page.records, now)}
    for record in page.records:
        if record.id in wanted:
            activities.store(
                connection, record, cause="backfill", received_at=None, status="pending", now=now
            )
    jobs.enqueue(connection, (job for job in page.jobs if int(job.key.partition(":")[2]) in wanted), now)
    athletes.advance_sync(connection, page.athlete_id, len(page.records), now)
