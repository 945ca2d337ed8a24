"""Connected athletes: who they are, what they granted, how far their first sync is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    or_,
    select,
    update,
)

from ..domain.athlete import AthleteProfile, parse_sports
from ..domain.gear import GEAR_SCOPE
from ..domain.reconciliation import SyncedHistory
from .engine.dialect import insert_into
from .engine.types import Instant
from .schema.tables import jobs, strava_activities, strava_athletes, webhook_subscriptions

FIRST_COMPARISON = timedelta(minutes=15)
"""After connecting: the first sync has just listed everything."""


_columns = strava_athletes.c

# Statements of every job's way are built once: to build one takes longer than to run it.
_ROW = select(strava_athletes).where(_columns.id == bindparam("athlete"))
_CHANGE = update(strava_athletes).where(_columns.id == bindparam("athlete"))
_WANTED_SPORTS = select(_columns.wanted_sports).where(_columns.id == bindparam("athlete"))
_STATUSES = (
    select(_columns.id, _columns.status)
    .where(_columns.id.in_(bindparam("ids", expanding=True)))
    .order_by(_columns.id)
    .with_for_update(read=True, key_share=True)
)
_MINE = select(_columns.id).where(_columns.id == bindparam("athlete")).with_for_update(key_share=True)
_HEARD = (
    update(strava_athletes).where(_columns.id == bindparam("athlete")).values(last_event_at=bindparam("now"))
)
_COMPLETE_SYNC = (
    update(strava_athletes)
    .where(
        _columns.id == bindparam("athlete"),
        _columns.initial_sync_listed.is_(True),
        _columns.initial_sync_completed.is_(False),
        ~exists().where(
            and_(
                strava_activities.c.athlete_id == bindparam("athlete"),
                strava_activities.c.sync_status.in_(("pending", "syncing")),
            )
        ),
    )
    .values(
        initial_sync_completed=True, initial_sync_completed_at=bindparam("now"), updated_at=bindparam("now")
    )
)
_DUE = (
    select(strava_athletes)
    .where(_columns.status == "active", _columns.reconcile_due_at <= bindparam("now"))
    .order_by(_columns.reconcile_due_at)
    .limit(bindparam("most"))
)
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


def statuses(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """The athletes' states, which cannot become `deauthorized` before this transaction ends.

    A key share lock: it keeps out who purges the athlete, not who notes that something was synced.
    """
    return {row.id: row.status for row in connection.execute(_STATUSES, {"ids": sorted(ids)})}


def lock(connection: Connection, athlete_id: int) -> None:
    """Who locks the same athlete waits until this transaction ends.

    Deliveries do not, nor others that hold `statuses`: it is weaker than a departure's (departures.purge).
    """
    connection.execute(_MINE, {"athlete": athlete_id}).all()


def connect(
    connection: Connection,
    profile: AthleteProfile,
    scopes: str,
    status: str,
    reason: str | None,
    now: datetime,
) -> None:
    """Create the athlete, or bring one who left or lost access back."""
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
        "reconcile_due_at": now + FIRST_COMPARISON,
        "gear_due_at": now,
        "updated_at": now,
    }
    connection.execute(
        insert_into(connection, strava_athletes)
        .values(id=profile.id, **values)
        .on_conflict_do_update(index_elements=["id"], set_=values)
    )


def last_active(connection: Connection) -> int | None:
    """Of those who are connected, one of whom something was stored lately."""
    query = select(_columns.id).where(_columns.status == "active")
    return connection.execute(query.order_by(_columns.last_synced_at.desc().nulls_last()).limit(1)).scalar()


def let_operator_see(connection: Connection, athlete_id: int, allowed: bool, now: datetime) -> None:
    connection.execute(_CHANGE, {"athlete": athlete_id, "operator_may_see": allowed, "updated_at": now})


def keep_sports(
    connection: Connection, athlete_id: int, sports: frozenset[str] | None, now: datetime
) -> None:
    text = None if sports is None else ",".join(sorted(sports))
    connection.execute(_CHANGE, {"athlete": athlete_id, "wanted_sports": text, "updated_at": now})


def wanted_sports(connection: Connection, athlete_id: int) -> frozenset[str] | None:
    """The sport types whose details are wanted; None: all."""
    return parse_sports(connection.execute(_WANTED_SPORTS, {"athlete": athlete_id}).scalar())


def note_events(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    rows = [{"athlete": athlete_id, "now": now} for athlete_id in sorted(ids)]
    if rows:
        connection.execute(_HEARD, rows)


def set_subscription(connection: Connection, *, active: bool) -> None:
    connection.execute(update(strava_athletes).values(webhook_subscription_active=active))


def mark(connection: Connection, athlete_id: int, status: str, reason: str | None, now: datetime) -> None:
    """Set the connection's state; who has left stays gone."""
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id, _columns.status != "deauthorized")
        .values(status=status, status_reason=reason, updated_at=now)
    )


def begin_sync(connection: Connection, athlete_id: int, after: datetime | None, now: datetime) -> None:
    """What was synced before, if that began earlier, still counts: it is compared for good (pain 52)."""
    since: Any = after
    if after is not None:
        held = _columns.initial_sync_after
        wider = and_(_columns.initial_sync_started_at.is_not(None), or_(held.is_(None), held < after))
        since = case((wider, held), else_=literal(after, Instant))
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


def advance_sync(connection: Connection, athlete_id: int, pages: int, found: int, now: datetime) -> None:
    """So many more pages of the list are stored."""
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id)
        .values(
            initial_sync_cursor=func.coalesce(_columns.initial_sync_cursor, 0) + pages,
            initial_sync_found=_columns.initial_sync_found + found,
            updated_at=now,
        )
    )


def finish_listing(connection: Connection, athlete_id: int, now: datetime) -> None:
    connection.execute(
        update(strava_athletes)
        .where(_columns.id == athlete_id)
        .values(initial_sync_listed=True, updated_at=now)
    )
    complete_sync(connection, athlete_id, now)


def complete_sync(connection: Connection, athlete_id: int, now: datetime) -> None:
    """The first sync is complete when all is listed and no activity waits for its detail or streams."""
    connection.execute(_COMPLETE_SYNC, {"athlete": athlete_id, "now": now})


def note_synced(connection: Connection, athlete_id: int, now: datetime) -> None:
    connection.execute(_CHANGE, {"athlete": athlete_id, "last_synced_at": now})
    complete_sync(connection, athlete_id, now)


def note_verified(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Our rows were compared with all that Strava lists in the window."""
    connection.execute(_CHANGE, {"athlete": athlete_id, "last_verified_at": now})


def known(row: Row[Any] | None) -> SyncedHistory:
    """How far back we have seen the athlete's activities, and when last."""
    if row is None:
        return SyncedHistory()
    listed = row.initial_sync_listed
    seen = row.last_verified_at or (row.initial_sync_started_at if listed else None)
    return SyncedHistory(listed=listed, since=row.initial_sync_after, seen=seen)


def due_for_comparison(
    connection: Connection, now: datetime, limit: int, *, lock: bool
) -> Sequence[Row[Any]]:
    """Connected athletes whose next comparison with Strava is due, longest waiting first."""
    return connection.execute(_LOCKED_DUE if lock else _DUE, {"now": now, "most": limit}).all()


def schedule_comparison(connection: Connection, athlete_id: int, due: datetime) -> None:
    connection.execute(_CHANGE, {"athlete": athlete_id, "reconcile_due_at": due})


def due_for_gear(connection: Connection, now: datetime, limit: int, *, lock: bool) -> Sequence[int]:
    """Connected athletes whose gear we may read and have not asked for in a day, longest waiting first."""
    query = _LOCKED_GEAR_DUE if lock else _GEAR_DUE
    return connection.execute(query, {"now": now, "most": limit}).scalars().all()


def schedule_gear(connection: Connection, athlete_id: int, due: datetime) -> None:
    connection.execute(_CHANGE, {"athlete": athlete_id, "gear_due_at": due})


def get(connection: Connection, athlete_id: int) -> Row[Any] | None:
    return connection.execute(_ROW, {"athlete": athlete_id}).first()


def listing(
    connection: Connection,
    *,
    limit: int,
    after_id: int | None = None,
    wanted: ColumnElement[bool] | None = None,
) -> Sequence[Row[Any]]:
    """Athletes by id: all, or the `wanted` ones (silence.py)."""
    query = select(strava_athletes).order_by(_columns.id).limit(limit)
    if wanted is not None:
        query = query.where(wanted)
    if after_id is not None:
        query = query.where(_columns.id > after_id)
    return connection.execute(query).all()


def counts(connection: Connection) -> dict[str, int]:
    """How many athletes are in each status."""
    query = select(_columns.status, func.count()).group_by(_columns.status)
    return {row[0]: row[1] for row in connection.execute(query)}


def seats_used(connection: Connection) -> int:
    """How many athletes Strava counts as connected: also who left, until Strava has been told."""
    leaving = select(jobs.c.athlete_id).where(jobs.c.kind == "revoke_athlete")
    taken = or_(_columns.status != "deauthorized", _columns.id.in_(leaving))
    return connection.execute(select(func.count()).select_from(strava_athletes).where(taken)).scalar_one()
