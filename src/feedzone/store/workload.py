"""How many calls what waits will cost, and how many of them come first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Text, and_, case, cast, func, or_, select

from ..domain.job import Lane
from .schema import jobs, strava_activities
from .types import BigInt

_columns = jobs.c
_activity = strava_activities.c
_KEY = len("activity:")


def waiting(connection: Connection, now: datetime, *, photos: bool) -> Sequence[Row[Any]]:
    """By athlete: `calls` of all their jobs, `sync_calls` of a first or longer sync, `sync_after` calls of
    anybody's it is done, and whether all of it is `unlisted`.

    Counted is what is due, or put off by a spent window or a failure. Later looks at fresh activities that
    are not due yet belong to what is learned from the journal.
    """
    hint = cast(_columns.hint, Text)
    with_photos = case((_activity.total_photo_count > 0, 1), else_=0) if photos else 0
    kind = _columns.kind
    calls = case(
        (and_(kind == "refresh_activity", hint.contains('"streams_only":true')), 1),
        (and_(kind == "refresh_activity", hint.contains('"detail_version":')), 1),
        (and_(kind == "refresh_activity", _activity.manual.is_(True)), 1 + with_photos),
        (kind == "refresh_activity", 2 + with_photos),
        # At least the page and the empty one after it; how many pages there are, only the end tells.
        (and_(kind == "backfill_athlete", ~hint.contains('"page":')), 2),
        (and_(kind == "reconcile_athlete", ~hint.contains('"full":false')), 2),
        else_=1,
    )
    lists = kind == "backfill_athlete"
    line = (
        select(
            _columns.athlete_id,
            calls.label("calls"),
            case((or_(lists, _columns.priority == int(Lane.BACKFILL)), 1), else_=0).label("syncs"),
            case((lists, 1), else_=0).label("lists"),
            func.sum(calls).over(order_by=(_columns.priority, _columns.turn, _columns.id)).label("after"),
        )
        .outerjoin(strava_activities, _activity.id == _activity_id())
        .where(
            _columns.state.in_(("queued", "running")),
            or_(_columns.due_at <= now, _columns.last_error.is_not(None), _columns.state == "running"),
        )
        .subquery()
        .c
    )
    rows: Any = connection.execute(
        select(
            line.athlete_id,
            func.sum(line.calls).label("calls"),
            func.sum(line.calls * line.syncs).label("sync_calls"),
            func.max(line.after * line.syncs).label("sync_after"),
            func.max(line.lists).label("unlisted"),
        ).group_by(line.athlete_id)
    ).all()
    return list(rows)


def _activity_id() -> Any:
    """The activity of a job; null for jobs of another kind, whose keys hold other numbers."""
    number = cast(func.substr(_columns.key, _KEY + 1), BigInt)
    return case((_columns.kind == "refresh_activity", number), else_=None)
