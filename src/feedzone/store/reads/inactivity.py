"""Who is silent: idle athletes, of whom nothing comes, and quiet ones, whose activities no event announces.

The idle hold a seat at Strava for nothing (pain 37); the quiet may have granted too little (pain 30).
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
"""So many activities that no event announced, since the athlete's last event."""

QUIET_WITHIN = timedelta(days=30)

_athlete = strava_athletes.c
_activity = strava_activities.c

_LATEST_START = (
    select(func.max(_activity.start_date))
    .where(_activity.athlete_id == _athlete.id)
    .correlate(strava_athletes)
    .scalar_subquery()
)

# A comparison that found something new, and its rows, are written at one instant (effects.py).
_FOUND_UNANNOUNCED = exists().where(
    reconciliations.c.athlete_id == _activity.athlete_id,
    reconciliations.c.ended_at == _activity.created_at,
    reconciliations.c.unannounced > 0,
)


class InactivitySigns(NamedTuple):
    """What tells whether an athlete is there, and whether events of them come."""

    latest_start: datetime | None
    """Of all their activities that are here."""

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
    """Connected athletes who did so before then, and of whom no event and no activity has come since."""
    active_since = exists().where(_activity.athlete_id == _athlete.id, _activity.start_date > before)
    return and_(
        _athlete.status != "deauthorized",
        _athlete.connected_at <= before,
        or_(_athlete.last_event_at.is_(None), _athlete.last_event_at <= before),
        ~active_since.correlate(strava_athletes),
    )


def quiet(connection: Connection, now: datetime) -> ColumnElement[bool]:
    """Athletes whose activities keep being found by comparisons, and no event has told of them.

    What counts began after their last event, and while they and the subscription were there: so it is part
    of no first sync, and Strava ought to have announced it.
    """
    subscribed = subscriptions.active_since(connection)
    if subscribed is None:
        return false()
    since = literal(max(subscribed, now - QUIET_WITHIN), Instant)
    heard = _later(_athlete.last_event_at, _later(_athlete.connected_at, since))
    unannounced = (
        select(func.count())
        .select_from(strava_activities)
        .where(
            _activity.athlete_id == _athlete.id,
            _activity.start_date > heard,
            _activity.sync_status != "deleted",
            _activity.webhook_received_at.is_(None),
            _FOUND_UNANNOUNCED.correlate(strava_activities),
        )
        .correlate(strava_athletes)
        .scalar_subquery()
    )
    return and_(_athlete.status == "active", unannounced >= QUIET_FROM)


def _later(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """The later of two instants; `one` may be null."""
    return case((one > other, one), else_=other)


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
