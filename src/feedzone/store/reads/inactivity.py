"""Idle athletes, without activities, and quiet athletes, whose activities come without events.

An idle athlete uses a seat at Strava for nothing; a quiet athlete may have granted too few scopes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, exists, false, func, literal, or_, select

from .. import subscriptions
from ..engine.types import Instant
from ..schema.tables import reconciliations, strava_activities, strava_athletes

QUIET_FROM = 3
"""The number of activities without an event, since the athlete's last event."""

QUIET_WITHIN = timedelta(days=30)

_athlete = strava_athletes.c
_activity = strava_activities.c

_LATEST_START = (
    select(func.max(_activity.start_date))
    .where(_activity.athlete_id == _athlete.id)
    .correlate(strava_athletes)
    .scalar_subquery()
)

# A reconciliation and the activities that it found are written with one timestamp (effects.py).
_FOUND_UNANNOUNCED = exists().where(
    reconciliations.c.athlete_id == _activity.athlete_id,
    reconciliations.c.ended_at == _activity.created_at,
    reconciliations.c.unannounced > 0,
)


class InactivitySigns(NamedTuple):
    """Signs of an athlete's activity."""

    latest_start: datetime | None
    """The latest start among the stored activities."""

    quiet: bool


def matching(
    connection: Connection, now: datetime, *, idle_days: int | None, quiet_only: bool | None
) -> ColumnElement[bool] | None:
    """Return the condition that `athletes.listing` takes; None selects all athletes."""
    conditions: list[ColumnElement[bool]] = []
    if idle_days is not None:
        conditions.append(idle(now - timedelta(days=idle_days)))
    if quiet_only is not None:
        is_quiet = quiet(connection, now)
        conditions.append(is_quiet if quiet_only else ~is_quiet)
    return and_(*conditions) if conditions else None


def idle(before: datetime) -> ColumnElement[bool]:
    """Match athletes who connected before `before`, and have no event and no activity since."""
    active_since = exists().where(_activity.athlete_id == _athlete.id, _activity.start_date > before)
    return and_(
        _athlete.status != "deauthorized",
        _athlete.connected_at <= before,
        or_(_athlete.last_event_at.is_(None), _athlete.last_event_at <= before),
        ~active_since.correlate(strava_athletes),
    )


def quiet(connection: Connection, now: datetime) -> ColumnElement[bool]:
    """Match athletes whose activities reconciliation keeps finding without an event.

    An activity counts if it started after the last event, and while athlete and subscription were connected:
    so it is part of no backfill, and Strava should have announced it.
    """
    subscribed = subscriptions.active_since(connection)
    if subscribed is None:
        return false()
    since = literal(max(subscribed, now - QUIET_WITHIN), Instant)
    last_event = _later(_athlete.last_event_at, _later(_athlete.connected_at, since))
    unannounced = (
        select(func.count())
        .select_from(strava_activities)
        .where(
            _activity.athlete_id == _athlete.id,
            _activity.start_date > last_event,
            _activity.sync_status != "deleted",
            _activity.webhook_received_at.is_(None),
            _FOUND_UNANNOUNCED.correlate(strava_activities),
        )
        .correlate(strava_athletes)
        .scalar_subquery()
    )
    return and_(_athlete.status == "active", unannounced >= QUIET_FROM)


def _later(nullable: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the later of two instants; the first may be null."""
    return case((nullable > other, nullable), else_=other)


def quiet_count(connection: Connection, now: datetime) -> int:
    query = select(func.count()).select_from(strava_athletes).where(quiet(connection, now))
    return connection.execute(query).scalar_one()


def signs_of(connection: Connection, athlete_ids: Iterable[int], now: datetime) -> dict[int, InactivitySigns]:
    query = select(
        _athlete.id,
        _LATEST_START.label("latest_start"),
        quiet(connection, now).label("quiet"),
    ).where(_athlete.id.in_(sorted(athlete_ids)))
    return {row.id: InactivitySigns(row.latest_start, bool(row.quiet)) for row in connection.execute(query)}
