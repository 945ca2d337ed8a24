"""Deletions: read for the erasure log, and applied again to a restored backup."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from ..domain.effect import PurgeAthlete
from ..domain.job import RevokeHint, athlete_key, decode_hint, revoke_job
from ..domain.reconciliation import list_from, reconciliation_job
from . import activities, athletes, events, purge
from .engine.dialect import insert_into
from .erasure_log import Erasure
from .jobs import attempts, lifecycle
from .schema.tables import (
    activity_changes,
    database_identity,
    deletion_receipts,
    jobs,
    strava_activities,
    strava_athletes,
)

BATCH = 500
CAUSE = "restored backup"

_changes, _receipts = activity_changes.c, deletion_receipts.c
_DELETED = (
    select(_changes.id, _changes.activity_id, _changes.athlete_id, _changes.changed_at)
    .where(
        _changes.id > bindparam("after"),
        _changes.kind == "deleted",
    )
    .order_by(_changes.id)
    .limit(bindparam("most"))
)
_LEFT = (
    select(deletion_receipts)
    .where(_receipts.id > bindparam("after"))
    .order_by(_receipts.id)
    .limit(bindparam("most"))
)


class Identity(NamedTuple):
    """Which database this is, and its generation, which only rises."""

    database: str
    generation: int


class Restored(NamedTuple):
    """The result for a restored backup."""

    athletes_removed: int
    activities_removed: int
    athletes_to_compare: int


def identity(connection: Connection) -> Identity:
    """Return the identity of the database; a new one gets it now."""
    new = {"id": 1, "database_id": str(uuid.uuid4()), "generation": 0}
    connection.execute(
        insert_into(connection, database_identity).values(new).on_conflict_do_nothing(index_elements=["id"])
    )
    row = connection.execute(select(database_identity)).one()
    return Identity(row.database_id, row.generation)


def advance(connection: Connection, at_least: int = 0) -> int:
    """Raise the generation by one, or above `at_least`; return it."""
    generation = max(identity(connection).generation, at_least) + 1
    connection.execute(update(database_identity).values(generation=generation))
    return generation


def deleted_since(connection: Connection, database: str, after: str, limit: int) -> list[Erasure]:
    """Return the deletions of activities with ids after this one, by id."""
    return [
        Erasure(database, row.id, row.changed_at, row.athlete_id, row.activity_id)
        for row in connection.execute(_DELETED, {"after": after, "most": limit})
    ]


def left_since(connection: Connection, database: str, after: str, limit: int) -> list[Erasure]:
    """Return the departures of athletes with receipts after this id, by id."""
    return [_departure(database, row) for row in connection.execute(_LEFT, {"after": after, "most": limit})]


def _departure(database: str, row: Row[Any]) -> Erasure:
    return Erasure(
        database,
        row.id,
        row.purged_at,
        row.athlete_id,
        reason=row.reason,
        cause=row.cause,
        confirmed_by=row.confirmed_by,
        counts=row.counts,
    )


def apply(connection: Connection, erasures: Sequence[Erasure], days: int, now: datetime) -> Restored:
    """Delete again what a restored backup brought back, and enqueue the comparison of everything else.

    A token pair of the backup may be dead: athletes rotate it by using it. So each is refreshed before its
    next use, which shows the dead ones (`needs_reauth`).
    """
    _drop_old_claims(connection, now)
    left = sum(_leave(connection, erasure, now) for erasure in erasures if erasure.activity is None)
    gone = _delete_again(connection, [erasure for erasure in erasures if erasure.activity is not None], now)
    _restart_clocks(connection, now)
    return Restored(left, gone, _compare_everyone(connection, days, now))


def _restart_clocks(connection: Connection, now: datetime) -> None:
    """Let every athlete's tokens be refreshed before their next use, and every deadline begin again.

    An athlete about to leave may have connected again since: the log has the departures.
    """
    columns = strava_athletes.c
    connection.execute(
        update(strava_athletes)
        .where(columns.refresh_token_encrypted.is_not(None))
        .values(token_expires_at=now, refresh_lease_owner=None, refresh_lease_until=None)
    )
    no_deadline = {"leaves_at": None, "leaving_cause": None, "updated_at": now}
    connection.execute(
        update(strava_athletes)
        .where(columns.status == "leaving")
        .values(status="active", status_reason=None, refused_at=None, **no_deadline)
    )
    connection.execute(
        update(strava_athletes).where(columns.status == "needs_reauth").values(refused_at=now, **no_deadline)
    )


def _drop_old_claims(connection: Connection, now: datetime) -> None:
    """Remove unproven departures of the backup's time: the log knows which ones were true.

    With a dead token pair Strava would seem to confirm them.
    """
    query = select(jobs.c.id, jobs.c.hint).where(jobs.c.kind == "revoke_athlete")
    for row in connection.execute(query).all():
        hint = decode_hint(row.hint)
        if isinstance(hint, RevokeHint) and hint.action == "confirm":
            events.complete(connection, row.id, None, "older than the restored backup's log of erasures", now)
            attempts.forget(connection, row.id)
            connection.execute(delete(jobs).where(jobs.c.id == row.id))


def _leave(connection: Connection, erasure: Erasure, now: datetime) -> bool:
    """Remove an athlete whose departure is newer than the backup; keep the receipt of that time."""
    row = athletes.get(connection, erasure.athlete)
    known = connection.execute(select(_receipts.id).where(_receipts.id == erasure.id)).first()
    if row is None or row.status == "deauthorized" or row.connected_at > erasure.at:
        removed = False
    else:
        confirmed = "the erasure log: a restored backup had brought the athlete back"
        again = PurgeAthlete(erasure.athlete, "disconnected", CAUSE, confirmed)
        removed = purge.purge(connection, again, now)
        lifecycle.enqueue(connection, [revoke_job(erasure.athlete, row.refresh_token_encrypted, None)], now)
    if known is None:
        connection.execute(
            deletion_receipts.insert().values(
                id=erasure.id,
                athlete_id=erasure.athlete,
                reason=erasure.reason,
                cause=erasure.cause,
                confirmed_by=erasure.confirmed_by,
                purged_at=erasure.at,
                counts=erasure.counts,
                revoke_detail="not known: the receipt is from the erasure log",
            )
        )
    return removed


def _delete_again(connection: Connection, erasures: Sequence[Erasure], now: datetime) -> int:
    """Make tombstones of activities that were deleted after their last fetch in the backup."""
    newest = {erasure.activity: erasure for erasure in erasures}  # they are sorted by id, thus by time
    columns, count = strava_activities.c, 0
    for ids in _in_batches(sorted(number for number in newest if number is not None)):
        alive = select(columns.id, columns.athlete_id, columns.last_fetched_at).where(
            columns.id.in_(ids), columns.sync_status != "deleted"
        )
        for row in connection.execute(alive).all():
            erasure = newest[row.id]
            if row.last_fetched_at is None or row.last_fetched_at <= erasure.at:
                activities.tombstone(connection, row.id, row.athlete_id, CAUSE, now)
                count += 1
    return count


def _in_batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _compare_everyone(connection: Connection, days: int, now: datetime) -> int:
    """Enqueue a reconciliation of everything that is stored, deletions included, for every athlete."""
    rows: Iterable[Row[Any]] = connection.execute(
        select(strava_athletes).where(strava_athletes.c.status == "active")
    ).all()
    specs = []
    for row in rows:
        since = list_from(athletes.synced_range(row), days, now, everything=True)
        specs.append(reconciliation_job(row.id, days, since=since))
    lifecycle.lock(connection, (athlete_key(spec.athlete_id) for spec in specs))
    lifecycle.enqueue(connection, specs, now)
    return len(specs)
