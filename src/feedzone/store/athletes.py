"""Store athletes: their profile, their connection, and the progress of their backfill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)

from ..domain.athlete import AthleteProfile, parse_sports
from ..domain.gear import GEAR_SCOPE
from ..domain.reconciliation import SyncedRange
from .batches import update_in_batches
from .engine.database import Database
from .engine.dialect import among, insert_into
from .engine.types import Instant
from .schema.tables import jobs, strava_activities, strava_athletes, webhook_subscriptions

FIRST_RECONCILIATION = timedelta(minutes=15)
"""The delay after connecting. Until then the backfill lists everything anyway."""


_columns = strava_athletes.c

# These statements run for every job. They are built once, as building one takes longer than running it.
_ROW = select(strava_athletes).where(_columns.id == bindparam("athlete"))
_CHANGE = update(strava_athletes).where(_columns.id == bindparam("athlete"))
_SPORTS_OF_ALL = select(_columns.id, _columns.wanted_sports).where(among(_columns.id, "ids"))
_STATUSES = (
    select(_columns.id, _columns.status)
    .where(among(_columns.id, "ids"))
    .order_by(_columns.id)
    .with_for_update(read=True, key_share=True)
)
_FREE_STATUSES = _STATUSES.with_for_update(read=True, key_share=True, skip_locked=True)
_STATUSES_NOW = select(_columns.id, _columns.status).where(among(_columns.id, "ids"))
_NOTE_EVENT = (
    update(strava_athletes)
    .where(_columns.id == bindparam("athlete"))
    .values(last_event_at=bindparam("received"))
)
_IS_SYNCED = and_(
    _columns.initial_sync_listed.is_(True),
    _columns.initial_sync_completed.is_(False),
    ~exists().where(
        and_(
            strava_activities.c.athlete_id == bindparam("athlete"),
            strava_activities.c.sync_status.in_([literal_column("'pending'"), literal_column("'syncing'")]),
        )
    ),
)
_COMPLETE_SYNC = (
    update(strava_athletes)
    .where(_columns.id == bindparam("athlete"), _IS_SYNCED)
    .values(
        initial_sync_completed=True, initial_sync_completed_at=bindparam("now"), updated_at=bindparam("now")
    )
)
_NOTE_SYNCED = (
    update(strava_athletes)
    .where(_columns.id == bindparam("athlete"))
    .values(
        last_synced_at=bindparam("now"),
        initial_sync_completed=case((_IS_SYNCED, true()), else_=_columns.initial_sync_completed),
        initial_sync_completed_at=case(
            (_IS_SYNCED, bindparam("now", type_=Instant)), else_=_columns.initial_sync_completed_at
        ),
        updated_at=case((_IS_SYNCED, bindparam("now", type_=Instant)), else_=_columns.updated_at),
    )
)
_LOCK = (
    select(_columns.id).where(among(_columns.id, "ids")).order_by(_columns.id).with_for_update(key_share=True)
)
_DUE = (
    select(strava_athletes)
    .where(_columns.status == "active", _columns.reconcile_due_at <= bindparam("now"))
    .order_by(_columns.reconcile_due_at)
    .limit(bindparam("most"))
)
HAS_LOST_DELIVERIES = and_(
    _columns.status == "active",
    _columns.deliveries_lost_at.is_not(None),
    or_(_columns.last_verified_at.is_(None), _columns.last_verified_at < _columns.deliveries_lost_at),
)
"""Match athletes whose comparison with Strava has not followed lost deliveries yet."""

_LOST = select(
    func.count().label("athletes"), func.min(_columns.deliveries_lost_at, type_=Instant).label("since")
).where(HAS_LOST_DELIVERIES)
_LOCKED_DUE = _DUE.with_for_update(skip_locked=True)
_GEAR_DUE = (
    select(_columns.id)
    .where(
        _columns.status == "active",
        _columns.scopes.contains(GEAR_SCOPE, autoescape=True),
        _columns.gear_due_at <= bindparam("now"),
    )
    .order_by(_columns.gear_due_at)
    .limit(bindparam("most"))
)
_LOCKED_GEAR_DUE = _GEAR_DUE.with_for_update(skip_locked=True)


def statuses(connection: Connection, ids: Iterable[int], *, wait: bool = True) -> dict[int, str]:
    """Return the athletes' statuses, and keep them from becoming `deauthorized` in this transaction.

    The key share lock blocks a purge of the athlete, but not an update that records a sync. Without `wait`,
    the result lacks athletes who are being purged.
    """
    query = _STATUSES if wait else _FREE_STATUSES
    return {row.id: row.status for row in connection.execute(query, {"ids": sorted(ids)})}


def statuses_now(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return the athletes' statuses, which may change at once."""
    return {row.id: row.status for row in connection.execute(_STATUSES_NOW, {"ids": sorted(ids)})}


def lock(connection: Connection, *ids: int) -> None:
    """Lock the athletes against other calls of `lock` until this transaction ends.

    Deliveries and other callers of `statuses` do not wait: this lock is weaker than that of a purge
    (purge.purge).
    """
    connection.execute(_LOCK, {"ids": sorted(ids)}).all()


def connect(
    connection: Connection,
    profile: AthleteProfile,
    scopes: str,
    status: str,
    reason: str | None,
    now: datetime,
) -> None:
    """Create the athlete, or reconnect one who disconnected or lost access."""
    subscribed = connection.execute(
        select(webhook_subscriptions.c.subscription_id).where(webhook_subscriptions.c.is_active.is_(True))
    ).first()
    values = {
        "username": profile.username,
        "firstname": profile.firstname,
        "lastname": profile.lastname,
        "scopes": scopes,
        "status": status,
        "status_reason": reason,
        "webhook_subscription_active": subscribed is not None,
        "connected_at": now,
        "refused_at": None,
        "leaves_at": None,
        "leaving_cause": None,
        "reconcile_due_at": now + FIRST_RECONCILIATION,
        "gear_due_at": now,
        "updated_at": now,
    }
    # Other scopes may show other samples, for example those in a privacy zone.
    doubted = case((_columns.scopes != scopes, literal(now, Instant)), else_=_columns.streams_doubted_at)
    connection.execute(
        insert_into(connection, strava_athletes)
        .values(id=profile.id, **values)
        .on_conflict_do_update(index_elements=["id"], set_=values | {"streams_doubted_at": doubted})
    )


def last_synced(connection: Connection) -> int | None:
    """Return the connected athlete whose activities were stored most recently."""
    query = select(_columns.id).where(_columns.status == "active")
    return connection.execute(query.order_by(_columns.last_synced_at.desc().nulls_last()).limit(1)).scalar()


def set_operator_access(connection: Connection, athlete_id: int, allowed: bool, now: datetime) -> None:
    """Store whether the operator may see the athlete's activities."""
    connection.execute(_CHANGE, {"athlete": athlete_id, "operator_may_see": allowed, "updated_at": now})


def set_wanted_sports(
    connection: Connection, athlete_id: int, sports: frozenset[str] | None, now: datetime
) -> None:
    """Store the sport types whose details are fetched; None: all. Then call `fetch_chosen`."""
    text = None if sports is None else ",".join(sorted(sports))
    changed = {"wanted_sports": text, "sports_changed_at": now, "updated_at": now}
    connection.execute(_CHANGE, {"athlete": athlete_id, **changed})


def wanted_sports_of_all(connection: Connection, ids: Iterable[int]) -> dict[int, frozenset[str] | None]:
    """Return, by athlete, the sport types whose details are fetched; None: all."""
    rows = connection.execute(_SPORTS_OF_ALL, {"ids": sorted(ids)})
    return {row.id: parse_sports(row.wanted_sports) for row in rows}


def note_events(connection: Connection, received: Mapping[int, datetime]) -> None:
    """Record when the latest events of these athletes were received."""
    rows = [{"athlete": athlete_id, "received": at} for athlete_id, at in sorted(received.items())]
    if rows:
        connection.execute(_NOTE_EVENT, rows)


def mark(connection: Connection, athlete_id: int, status: str, reason: str | None, now: datetime) -> None:
    """Set the status of the connection, unless the athlete has left or leaves."""
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id, _columns.status.not_in(("deauthorized", "leaving")))
        .values(status=status, status_reason=reason, updated_at=now)
    )


def begin_sync(connection: Connection, athlete_id: int, after: datetime | None, now: datetime) -> None:
    """Start a backfill from `after`; None: from the beginning.

    If a previous backfill started earlier, its start stays, so that reconciliations still cover all synced
    activities.
    """
    since: Any = after
    if after is not None:
        previous = _columns.initial_sync_after
        wider = and_(_columns.initial_sync_started_at.is_not(None), or_(previous.is_(None), previous < after))
        since = case((wider, previous), else_=literal(after, Instant))
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id)
        .values(
            initial_sync_started_at=now,
            initial_sync_completed=False,
            initial_sync_completed_at=None,
            initial_sync_after=since,
            initial_sync_cursor=0,
            initial_sync_listed=False,
            initial_sync_found=0,
            updated_at=now,
        )
    )


def advance_sync(connection: Connection, athlete_id: int, pages: int, listed: int, now: datetime) -> None:
    """Count newly stored pages of the list, and the activities in them."""
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id)
        .values(
            initial_sync_cursor=func.coalesce(_columns.initial_sync_cursor, 0) + pages,
            initial_sync_found=_columns.initial_sync_found + listed,
            updated_at=now,
        )
    )


def finish_listing(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Record that the backfill has listed everything."""
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id)
        .values(initial_sync_listed=True, updated_at=now)
    )
    complete_sync(connection, athlete_id, now)


def complete_sync(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Complete the backfill if all is listed and no activity is waiting for its detail or streams."""
    connection.execute(_COMPLETE_SYNC, {"athlete": athlete_id, "now": now})


def note_synced(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Record that activities of these athletes were stored. That may complete their backfills."""
    if rows := [{"athlete": athlete_id, "now": now} for athlete_id in sorted(ids)]:
        connection.execute(_NOTE_SYNCED, rows if len(rows) > 1 else rows[0])


def note_verified(connection: Connection, athlete_id: int, now: datetime, *, everything: bool) -> None:
    """Record that the rows were compared with everything that Strava lists in the window.

    With `everything` that was all that we store, and idle calls fetch all streams again.
    """
    doubted = {"streams_doubted_at": now} if everything else {}
    connection.execute(_CHANGE, {"athlete": athlete_id, "last_verified_at": now, **doubted})


def note_comparison(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Record that a full reconciliation was enqueued."""
    connection.execute(_CHANGE, {"athlete": athlete_id, "comparison_queued_at": now})


async def note_lost_deliveries(database: Database, ids: Sequence[int] | None, now: datetime) -> None:
    """Have these athletes compared with Strava soon, because we lost events of theirs; None: all athletes."""
    concerned = and_(true() if ids is None else _columns.id.in_(ids), _columns.status != "deauthorized")
    await update_in_batches(
        database, strava_athletes, concerned, deliveries_lost_at=now, reconcile_due_at=now
    )


def note_lost_delivery(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Have an athlete compared with Strava soon, because we lost an event of theirs."""
    connected = and_(_columns.id == athlete_id, _columns.status != "deauthorized")
    noted = {"deliveries_lost_at": now, "reconcile_due_at": now}
    connection.execute(update(strava_athletes).where(connected).values(noted))


def lost_deliveries(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many athletes still need a comparison because of lost events, and since when."""
    row = connection.execute(_LOST).one()
    return row.athletes, row.since


def has_lost_deliveries(connection: Connection, athlete_id: int) -> bool:
    """Return whether events of this athlete may be lost, and no comparison has followed yet."""
    query = select(_columns.id).where(_columns.id == athlete_id, HAS_LOST_DELIVERIES)
    return connection.execute(query).first() is not None


def synced_range(row: Row[Any] | None) -> SyncedRange:
    """Return how far back the athlete's activities were listed, and when last."""
    if row is None:
        return SyncedRange()
    listed = row.initial_sync_listed
    seen = row.last_verified_at or (row.initial_sync_started_at if listed else None)
    return SyncedRange(listed=listed, since=row.initial_sync_after, seen=seen)


def due_for_reconciliation(
    connection: Connection, now: datetime, limit: int, *, lock: bool
) -> Sequence[Row[Any]]:
    """Return connected athletes whose next reconciliation is due, longest overdue first."""
    return connection.execute(_LOCKED_DUE if lock else _DUE, {"now": now, "most": limit}).all()


def schedule_reconciliation(connection: Connection, athlete_id: int, due: datetime) -> None:
    """Set when the next reconciliation is due."""
    connection.execute(_CHANGE, {"athlete": athlete_id, "reconcile_due_at": due})


def due_for_gear(connection: Connection, now: datetime, limit: int, *, lock: bool) -> Sequence[int]:
    """Return connected athletes whose gear is due and whose scopes include it, longest overdue first."""
    query = _LOCKED_GEAR_DUE if lock else _GEAR_DUE
    return connection.execute(query, {"now": now, "most": limit}).scalars().all()


def schedule_gear(connection: Connection, athlete_id: int, due: datetime) -> None:
    """Set when gear is fetched next."""
    connection.execute(_CHANGE, {"athlete": athlete_id, "gear_due_at": due})


def get(connection: Connection, athlete_id: int) -> Row[Any] | None:
    """Return the whole row."""
    return connection.execute(_ROW, {"athlete": athlete_id}).first()


def listing(
    connection: Connection,
    *,
    limit: int,
    after_id: int | None = None,
    condition: ColumnElement[bool] | None = None,
) -> Sequence[Row[Any]]:
    """Return a page of athletes by id: all, or those that meet the condition (reads/inactivity.py)."""
    query = select(strava_athletes).order_by(_columns.id).limit(limit)
    if condition is not None:
        query = query.where(condition)
    if after_id is not None:
        query = query.where(_columns.id > after_id)
    return connection.execute(query).all()


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of athletes in each status."""
    query = select(_columns.status, func.count()).group_by(_columns.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def seats_used(connection: Connection) -> int:
    """Count the athletes that Strava counts as connected.

    A disconnected athlete still counts until the revocation has reached Strava.
    """
    disconnecting = select(jobs.c.athlete_id).where(jobs.c.kind == "revoke_athlete")
    connected = or_(_columns.status != "deauthorized", _columns.id.in_(disconnecting))
    return connection.execute(select(func.count()).select_from(strava_athletes).where(connected)).scalar_one()
