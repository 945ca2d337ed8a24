"""Write the effects of a handler (domain/effect.py) in the transaction that completes its job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import assert_never

from msgspec import structs
from sqlalchemy import Connection

from ..domain.activity import ActivityRecord
from ..domain.athlete import wants_details
from ..domain.effect import (
    AskForList,
    AskForPhotos,
    BeginLeaving,
    ConfirmRevoke,
    CountFruitless,
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
from ..domain.job import JobSpec, Lane, PlainHint, activity_key, athlete_key
from ..domain.reconciliation import ask_for_streams
from . import (
    activities,
    athletes,
    fruitless,
    gear,
    leaving,
    list_diff,
    photos,
    purge,
    reconciliations,
    streams,
)
from .jobs import deferral, lifecycle


def apply(connection: Connection, effects: Sequence[Effect], now: datetime) -> None:
    """Write the effects of runs that end together. Those of one activity are written in their order.

    Activities are locked before athletes, and all in one order: otherwise two groups would deadlock.
    """
    for batch in _batches(effects):
        details = [effect for effect in batch if isinstance(effect, StoreDetail)]
        found = [effect for effect in batch if isinstance(effect, StoreStreams)]
        if details or found:
            _store_fetched(connection, details, found, now)
        for effect in batch:
            _apply(connection, effect, now)


def _batches(effects: Sequence[Effect]) -> Iterator[list[Effect]]:
    """Split effects where one must follow an earlier one of the same activity."""
    batch: list[Effect] = []
    detailed: set[int] = set()
    later: set[int] = set()
    for effect in effects:
        if isinstance(effect, StoreDetail):
            number = effect.record.id
            must_follow = number in detailed or number in later
        else:
            number = getattr(effect, "activity_id", 0)
            must_follow = isinstance(effect, StoreStreams) and number in later
        if must_follow:
            yield batch
            batch, detailed, later = [], set(), set()
        (detailed if isinstance(effect, StoreDetail) else later).add(number)
        batch.append(effect)
    if batch:
        yield batch


def _store_fetched(
    connection: Connection, details: Sequence[StoreDetail], found: Sequence[StoreStreams], now: datetime
) -> None:
    with_streams = {effect.activity_id for effect in found}
    news = [
        activities.News(
            effect.record,
            effect.cause,
            "synced" if effect.complete or effect.record.id in with_streams else "syncing",
            effect.received_at,
            effect.event_time,
        )
        for effect in details
    ]
    rows = activities.lock(connection, [effect.record for effect in details], with_streams, now)
    owners = {effect.record.athlete_id for effect in details} | {effect.athlete_id for effect in found}
    if len(owners) > 1:
        athletes.lock(connection, *owners)
    changed = activities.store_all(connection, news, rows, now)
    for effect in details:
        if not effect.complete and effect.record.id not in with_streams:
            streams.mark_stale(connection, effect.record.id)
    streams.store_all(connection, found, now)
    for activity_id in sorted(with_streams - {effect.record.id for effect in details}):
        activities.mark_synced(connection, activity_id, now)
    complete = {effect.record.athlete_id for effect in details if effect.complete}
    athletes.note_synced(connection, complete | {effect.athlete_id for effect in found}, now)
    for effect in details:
        if effect.unproven and effect.record.id not in changed:
            fruitless.count(connection, effect.record.athlete_id, 1, now)


def _apply(connection: Connection, effect: Effect, now: datetime) -> None:
    match effect:
        case StoreDetail() | StoreStreams():
            pass  # written already
        case AskForPhotos():
            photos.request(connection, effect, now)
        case StorePhotos():
            photos.store(connection, effect, now)
        case Tombstone(activity_id=activity_id, athlete_id=athlete_id, cause=cause, event_time=at):
            activities.tombstone(connection, activity_id, athlete_id, cause, now, at)
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
            _store_reconciliation(connection, effect, now)
        case OpenConflict(athlete_id=athlete_id, missing=missing, stored=stored):
            reconciliations.open_conflict(connection, athlete_id, missing, stored, now)
        case FinishListing(athlete_id=athlete_id):
            athletes.finish_listing(connection, athlete_id, now)
        case StoreGear(gear=profile_gear):
            gear.store(connection, profile_gear, now)
        case MarkAthlete(athlete_id=athlete_id, status=status, reason=reason):
            athletes.mark(connection, athlete_id, status, reason, now)
        case RecordRejectedClaim():
            purge.record_rejected_claim(connection, effect, now)
        case CountFruitless(athlete_id=athlete_id, calls=calls):
            fruitless.count(connection, athlete_id, calls, now)
        case AskForList(athlete_id=athlete_id, at=at):
            _ask_for_list(connection, athlete_id, at, now)
        case BeginLeaving():
            leaving.begin(connection, effect, now)
        case PurgeAthlete():
            purge.purge(connection, effect, now)
        case ConfirmRevoke(athlete_id=athlete_id, detail=detail, revoked=revoked):
            purge.note_revoke(connection, athlete_id, detail, now if revoked else None)
        case _:
            assert_never(effect)


def _store_page(connection: Connection, page: StorePage, now: datetime) -> None:
    diff = _store_list(connection, page.athlete_id, page.records, page.jobs, "backfill", now)
    counted = diff.new if page.again else page.records
    athletes.advance_sync(connection, page.athlete_id, int(not page.again), len(counted), now)


def _store_announced(connection: Connection, page: StoreAnnounced, now: datetime) -> None:
    lifecycle.lock(connection, (spec.key for spec in page.jobs))
    diff = list_diff.compare(connection, page.records, now)
    keys = _selected(connection, page.athlete_id, diff.new)
    # An activity that an event announced already has its job.
    lifecycle.enqueue(connection, (spec for spec in page.jobs if spec.key in keys), now, unless_live=True)
    differing = {record.id for record in diff.changed}
    # Strava shows the activity of a tombstone again.
    back = {activity_key(number) for number in differing - activities.existing(connection, differing)}
    lifecycle.enqueue(connection, (spec for spec in page.jobs if spec.key in back), now)
    _store_new(connection, diff.new, keys, "event", now)
    deferral.resume_after_list(connection, page.athlete_id, now)
    fruitless.note_list(connection, page.athlete_id, now, fruitless=not (diff.new or back))


def _ask_for_list(connection: Connection, athlete_id: int, at: datetime, now: datetime) -> None:
    """Enqueue one list call for all announced activities of the athlete that wait for it."""
    key = athlete_key(athlete_id)
    spec = JobSpec("list_activities", key, athlete_id, PlainHint(), 0, Lane.LIVE, due_at=at, first=True)
    lifecycle.enqueue(connection, [spec], now, unless_live=True)


def _store_reconciliation(connection: Connection, result: StoreReconciliation, now: datetime) -> None:
    specs = (*result.jobs, *result.missing)
    diff = _store_list(
        connection,
        result.athlete_id,
        result.records,
        specs,
        "reconciliation",
        now,
        retry_failed=result.full,
        thorough=result.everything,
    )
    lifecycle.enqueue(connection, result.missing, now)
    lifecycle.enqueue(connection, result.looks, now, unless_live=True)
    if result.full:
        in_doubt = streams.in_doubt(connection, (record.id for record in result.records), now)
        asks = (ask_for_streams(row.athlete_id, row.activity_id) for row in in_doubt)
        lifecycle.enqueue(connection, asks, now, unless_live=True)
    reconciliations.record(connection, result, diff, now)
    if result.full:
        reconciliations.settle(connection, result, now)
    if result.full and result.last:
        athletes.note_verified(connection, result.athlete_id, now, everything=result.everything)


def _store_list(
    connection: Connection,
    athlete_id: int,
    records: tuple[ActivityRecord, ...],
    specs: tuple[JobSpec, ...],
    cause: str,
    now: datetime,
    *,
    retry_failed: bool = True,
    thorough: bool = False,
) -> list_diff.ListDiff:
    """Store new activities from their summaries, and enqueue fetches of new and changed ones.

    A summary never overwrites a stored row, because it may be older than the last detail. A job that already
    waits in a backfill keeps its place: a reconciliation that lists its activity has learned nothing new.
    """
    lanes = lifecycle.lock(connection, (spec.key for spec in specs))
    diff = list_diff.compare(connection, records, now, retry_failed=retry_failed, thorough=thorough)
    selected = _selected(connection, athlete_id, diff.new)
    keys = selected | {activity_key(record.id) for record in diff.changed}
    in_backfill = {key for key, lane in lanes.items() if lane is Lane.BACKFILL}
    placed = (
        structs.replace(spec, lane=Lane.BACKFILL) if spec.key in in_backfill else spec for spec in specs
    )
    # Jobs before activities, as an event does: the other way round, the two would deadlock over a new one.
    lifecycle.enqueue(connection, (spec for spec in placed if spec.key in keys), now)
    list_diff.accept(connection, diff)
    _store_new(connection, diff.new, selected, cause, now)
    activities.mark_pending(connection, (record.id for record in diff.changed), now)
    return diff


def _selected(connection: Connection, athlete_id: int, new: Sequence[ActivityRecord]) -> set[str]:
    """Return the job keys of the new activities whose details the athlete selected."""
    sports = athletes.wanted_sports_of_all(connection, [athlete_id]).get(athlete_id) if new else None
    return {
        activity_key(record.id) for record in new if wants_details(sports, record.columns.get("sport_type"))
    }


def _store_new(
    connection: Connection, new: Sequence[ActivityRecord], selected: set[str], cause: str, now: datetime
) -> None:
    """Store rows from summaries; those of `selected` wait for their details."""
    for record in new:
        status = "pending" if activity_key(record.id) in selected else "synced"
        activities.store(connection, record, cause=cause, received_at=None, status=status, now=now)
