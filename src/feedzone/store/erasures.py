"""Deletions: read for the erasure log, and applied again to a restored backup."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from ..domain.effect import PurgeAthlete
from ..domain.job import RevokeHint, athlete_key, decode_hint, revoke_job
from ..domain.reconciliation import list_from, reconciliation_job
from . import activities, athletes, batches, events, purge, removals
from .batches import change_in_batches, update_in_batches
from .engine.database import Database
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

T = TypeVar("T")

CAUSE = "restored backup"

LOOK_AT = 500
"""The activities to look for at once."""

TOMBSTONES = 20
"""The activities to delete in one transaction: each has rows in several tables."""

_changes, _receipts, _athletes = activity_changes.c, deletion_receipts.c, strava_athletes.c
_REVOCATIONS = jobs.c.kind == "revoke_athlete"
_IS_ACTIVE = _athletes.status == "active"
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


def mark_as_older(connection: Connection, generation: int) -> None:
    """Lower the generation below this one, by which the next start recognizes a restored backup."""
    lowered = min(identity(connection).generation, generation - 1)
    connection.execute(update(database_identity).values(generation=lowered))


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


async def apply(database: Database, erasures: Sequence[Erasure], days: int, now: datetime) -> Restored:
    """Delete again what a restored backup brought back, and enqueue the comparison of everything else.

    A token pair of the backup may be dead: athletes rotate it by using it. So each is refreshed before its
    next use, which shows the dead ones (`needs_reauth`). All transactions are small, and each may run again.
    """
    await change_in_batches(database, jobs, _REVOCATIONS, partial(_drop_old_claims, now=now))
    left = await _leave_again(database, [erasure for erasure in erasures if erasure.activity is None], now)
    gone = await _delete_again(database, {e.activity: e for e in erasures if e.activity is not None}, now)
    await _restart_clocks(database, now)
    compare = partial(_compare, days=days, now=now)
    return Restored(left, gone, await change_in_batches(database, strava_athletes, _IS_ACTIVE, compare))


async def _restart_clocks(database: Database, now: datetime) -> None:
    """Let every athlete's tokens be refreshed before their next use, and every deadline begin again.

    An athlete about to leave may have connected again since: the log has the departures.
    """
    refreshed = {"token_expires_at": now, "refresh_lease_owner": None, "refresh_lease_until": None}
    no_deadline = {"leaves_at": None, "leaving_cause": None, "updated_at": now}
    active = {"status": "active", "status_reason": None, "refused_at": None} | no_deadline
    for matching, values in (
        (_athletes.refresh_token_encrypted.is_not(None), refreshed),
        (_athletes.status == "leaving", active),
        (_athletes.status == "needs_reauth", {"refused_at": now} | no_deadline),
    ):
        await update_in_batches(database, strava_athletes, matching, **values)


def _drop_old_claims(connection: Connection, job_ids: Sequence[str], now: datetime) -> int:
    """Remove unproven departures of the backup's time: the log knows which ones were true.

    With a dead token pair Strava would seem to confirm them.
    """
    dropped = 0
    for row in connection.execute(select(jobs.c.id, jobs.c.hint).where(jobs.c.id.in_(job_ids))).all():
        hint = decode_hint(row.hint)
        if isinstance(hint, RevokeHint) and hint.action == "confirm":
            events.complete(connection, row.id, None, "older than the restored backup's log of erasures", now)
            attempts.forget(connection, row.id)
            dropped += connection.execute(delete(jobs).where(jobs.c.id == row.id)).rowcount
    return dropped


async def _leave_again(database: Database, departures: Sequence[Erasure], now: datetime) -> int:
    """Remove the athletes whose departure is newer than the backup; return how many."""
    removed = 0
    for some in _in_batches(departures, batches.AT_ONCE):
        for erasure in await database.read(partial(_undone, departures=some)):
            removed += await database.write(partial(_leave, erasure=erasure, now=now))
    await removals.complete(database, now)
    return removed


def _undone(connection: Connection, departures: Sequence[Erasure]) -> list[Erasure]:
    """Return the departures of which the backup lacks the receipt or has the athlete."""
    ids = [erasure.id for erasure in departures]
    known = set(connection.execute(select(_receipts.id).where(_receipts.id.in_(ids))).scalars())
    numbers = {erasure.athlete for erasure in departures}
    rows = connection.execute(select(strava_athletes).where(_athletes.id.in_(numbers)))
    by_id = {row.id: row for row in rows}
    return [e for e in departures if e.id not in known or _is_back(by_id.get(e.athlete), e)]


def _is_back(row: Row[Any] | None, departure: Erasure) -> bool:
    return row is not None and row.status != "deauthorized" and row.connected_at <= departure.at


def _leave(connection: Connection, erasure: Erasure, now: datetime) -> bool:
    """Remove an athlete whose departure is newer than the backup; keep the receipt of that time."""
    row, removed = athletes.get(connection, erasure.athlete), False
    if row is not None and _is_back(row, erasure):
        confirmed = "the erasure log: a restored backup had brought the athlete back"
        again = PurgeAthlete(erasure.athlete, "disconnected", CAUSE, confirmed)
        removed = purge.purge(connection, again, now)
        if removed:
            revocation = revoke_job(erasure.athlete, row.refresh_token_encrypted, None)
            lifecycle.enqueue(connection, [revocation], now)
    receipt = {
        "id": erasure.id,
        "athlete_id": erasure.athlete,
        "reason": erasure.reason,
        "cause": erasure.cause,
        "confirmed_by": erasure.confirmed_by,
        "purged_at": erasure.at,
        "counts": erasure.counts,
        "revoke_detail": "not known: the receipt is from the erasure log",
    }
    insert = insert_into(connection, deletion_receipts).values(receipt)
    connection.execute(insert.on_conflict_do_nothing(index_elements=["id"]))
    return removed


async def _delete_again(database: Database, newest: Mapping[int, Erasure], now: datetime) -> int:
    """Make tombstones of activities that were deleted after their last fetch in the backup."""
    count = 0
    for ids in _in_batches(sorted(newest), LOOK_AT):
        back = await database.read(partial(_came_back, ids=ids, newest=newest))
        for some in _in_batches(back, TOMBSTONES):
            count += await database.write(partial(_bury, ids=some, newest=newest, now=now))
    return count


def _came_back(connection: Connection, ids: Sequence[int], newest: Mapping[int, Erasure]) -> list[int]:
    return [row.id for row in _alive(connection, ids, newest)]


def _bury(connection: Connection, ids: Sequence[int], newest: Mapping[int, Erasure], now: datetime) -> int:
    rows = _alive(connection, ids, newest)
    for row in rows:
        activities.tombstone(connection, row.id, row.athlete_id, CAUSE, now)
    return len(rows)


def _alive(connection: Connection, ids: Sequence[int], newest: Mapping[int, Erasure]) -> list[Any]:
    """Return the rows of existing activities that were fetched last before their deletion."""
    columns = strava_activities.c
    alive = select(columns.id, columns.athlete_id, columns.last_fetched_at).where(
        columns.id.in_(ids), columns.sync_status != "deleted"
    )
    rows = connection.execute(alive.order_by(columns.id)).all()
    return [row for row in rows if row.last_fetched_at is None or row.last_fetched_at <= newest[row.id].at]


def _in_batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _compare(connection: Connection, athlete_ids: Sequence[int], days: int, now: datetime) -> int:
    """Enqueue a reconciliation of everything that is stored, deletions included, for these athletes."""
    lifecycle.lock(connection, map(athlete_key, athlete_ids))
    rows = connection.execute(select(strava_athletes).where(_athletes.id.in_(athlete_ids), _IS_ACTIVE))
    specs = []
    for row in rows.all():
        since = list_from(athletes.synced_range(row), days, now, everything=True)
        specs.append(reconciliation_job(row.id, days, since=since))
    lifecycle.enqueue(connection, specs, now)
    return len(specs)
