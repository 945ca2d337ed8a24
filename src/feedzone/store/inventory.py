"""What is stored, in all and one by one: for totals and for exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from .schema import activity_streams, strava_activities

_columns = strava_activities.c


def totals(connection: Connection) -> tuple[int, int]:
    """How many activities are not deleted, and how many have streams."""
    alive = select(func.count()).where(_columns.sync_status != "deleted")
    present = select(func.count()).where(activity_streams.c.state == "present")
    return connection.execute(alive).scalar_one(), connection.execute(present).scalar_one()


def documents(connection: Connection, athlete_id: int, *, after_id: int, limit: int) -> Sequence[Row[Any]]:
    """`id detail summary blob` of the athlete's activities that are not deleted, by id."""
    wanted: list[Any] = [_columns.id, _columns.detail, _columns.summary, activity_streams.c.blob]
    query = (
        select(*wanted)
        .outerjoin(activity_streams, activity_streams.c.activity_id == _columns.id)
        .where(_columns.athlete_id == athlete_id, _columns.sync_status != "deleted", _columns.id > after_id)
        .order_by(_columns.id)
        .limit(limit)
    )
    return connection.execute(query).all()
