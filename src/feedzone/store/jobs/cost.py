"""How many calls what waits will cost, and how many of them come first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, and_, bindparam, case, cast, func, literal, or_, select

from ...domain.job import CALLS_A_SLICE, Lane
from .. import activities, athletes
from ..engine.types import BigInt
from ..schema.tables import jobs, strava_activities

_columns = jobs.c
_activity = strava_activities.c
_KEY = len("activity:")
_OLDEST_OF_HISTORIES = select(func.min(_columns.first_received_at)).where(
    _columns.state.in_(("queued", "running")),
    _columns.priority == int(Lane.BACKFILL),
    _columns.attempts == 0,
)


class Waiting(NamedTuple):
    """What waits of one athlete: the calls of it all, and those of a first or longer sync, which is done
    after `sync_after` calls of anybody's. `unlisted`: how many of it there are, only the list will tell."""

    athlete_id: int
    calls: int
    sync_calls: int
    sync_after: int
    unlisted: bool


def waiting(connection: Connection, now: datetime, *, photos: bool) -> list[Waiting]:
    """By athlete, what is due, or put off by a spent window or a failure.

    Later looks at fresh activities that are not due yet belong to what is learned from the journal.
    """
    rows = connection.execute(_query(photos=photos), {"now": now}).all()
    lines = [(row.line_ends, int(row.photos)) for row in rows if row.photos]
    later = _photos_before(lines, {row.sync_ends for row in rows if row.sync_ends is not None})
    return [
        Waiting(
            row.athlete_id,
            int(row.calls + row.photos),
            int(row.sync_calls),
            int(row.sync_after) + later.get(row.sync_ends, 0),
            bool(row.unlisted),
        )
        for row in rows
    ]


def histories_since(connection: Connection) -> datetime | None:
    """Since when the oldest of histories' jobs has been waiting that nothing but the rate limit holds up."""
    since: datetime | None = connection.execute(_OLDEST_OF_HISTORIES).scalar()
    return since


class Pace(NamedTuple):
    """How many activities of an athlete we hold, and how many there were `a_day` in the time that was synced;
    None: it is all of the athlete's history already."""

    held: int
    a_day: float | None


def pace(connection: Connection, athlete_id: int, now: datetime) -> Pace | None:
    """None for an athlete who is not connected."""
    athlete = athletes.get(connection, athlete_id)
    if athlete is None or athlete.status == "deauthorized":
        return None
    after = athlete.initial_sync_after
    held = activities.stored_count(connection, athlete_id)
    if after is None:
        return Pace(held, None)
    seen = activities.stored_count(connection, athlete_id, since=after)
    return Pace(held, seen / max(1.0, (now - after) / timedelta(days=1)))


def _photos_before(lines: Iterable[tuple[int, int]], turns: Iterable[int]) -> dict[int, int]:
    """How many photos come before each of these turns: they will be asked for in the turns after the end of
    their athlete's line."""
    bends = Counter[int]()
    for ends, photos in lines:
        bends[ends + 1] += 1
        bends[ends + 1 + photos] -= 1
    found, asking, made, at = {}, 0, 0, 0
    for fair_position in sorted({*bends, *turns}):
        made, at = made + asking * (fair_position - at), fair_position
        asking += bends[fair_position]
        found[fair_position] = made
    return found


@cache
def _query(*, photos: bool) -> Select[Any]:
    hint = cast(_columns.hint, Text)
    kind, lane = _columns.kind, _columns.priority
    lists, history = kind == "backfill_athlete", lane == int(Lane.BACKFILL)
    # Those of a history are asked for by jobs that take their places when all of it is there.
    with_photos = case((_activity.total_photo_count > 0, 1), else_=0) if photos else literal(0)
    streams = or_(hint.contains('"streams_only":true'), hint.contains('"detail_version":'))
    later = case((and_(kind == "refresh_activity", history, ~streams), with_photos), else_=0)
    at_once = case((history, 0), else_=with_photos)
    calls = case(
        (and_(kind == "refresh_activity", streams), 1),
        (and_(kind == "refresh_activity", _activity.manual.is_(True)), 1 + at_once),
        (kind == "refresh_activity", 2 + at_once),
        # At least the page and the empty one after it; how many pages there are, only the end tells.
        (and_(kind == "backfill_athlete", ~hint.contains('"page":')), 2),
        (and_(kind == "reconcile_athlete", hint.contains('"since":')), CALLS_A_SLICE),
        (
            and_(
                kind == "reconcile_athlete", ~hint.contains('"full":false'), ~hint.contains('"to_end":false')
            ),
            2,
        ),
        else_=1,
    )
    line = (
        select(
            _columns.athlete_id,
            calls.label("calls"),
            later.label("photos"),
            case((history, _columns.fair_position)).label("fair_position"),
            # A sync is complete without its photos.
            case((or_(lists, and_(history, kind != "refresh_photos")), 1), else_=0).label("syncs"),
            case((lists, 1), else_=0).label("lists"),
            func.sum(calls).over(order_by=(lane, _columns.fair_position, _columns.id)).label("after"),
        )
        .outerjoin(strava_activities, _activity.id == _activity_id())
        .where(
            _columns.state.in_(("queued", "running")),
            or_(
                _columns.due_at <= bindparam("now"),
                _columns.last_error.is_not(None),
                _columns.state == "running",
            ),
        )
        .subquery()
        .c
    )
    return select(
        line.athlete_id,
        func.sum(line.calls).label("calls"),
        func.sum(line.photos).label("photos"),
        func.sum(line.calls * line.syncs).label("sync_calls"),
        func.max(line.after * line.syncs).label("sync_after"),
        func.max(line.fair_position).label("line_ends"),
        func.max(case((line.syncs == 1, line.fair_position))).label("sync_ends"),
        func.max(line.lists).label("unlisted"),
    ).group_by(line.athlete_id)


def _activity_id() -> Any:
    """The activity of a job; null for jobs of another kind, whose keys hold other numbers."""
    number = cast(func.substr(_columns.key, _KEY + 1), BigInt)
    return case((_columns.kind == "refresh_activity", number), else_=None)
