"""Within a lane, athletes take turns: ten years of one athlete do not delay the first week of another.

A job's fair position is its place among the jobs of its athlete and lane, counted from the front of the lane
when the athlete's first job comes. Each further job of the athlete gets the next higher position; the first
job of an athlete without any goes next.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, bindparam, func, null, select, union_all

from ...domain.job import JobSpec, Lane
from ..engine.dialect import among
from ..schema.tables import IS_LIVE, jobs, strava_athletes

_columns = jobs.c
# Both read one end of an index. A minimum over all rows would take longer with every job in the queue.
_lowest = (
    select(_columns.fair_position)
    .where(_columns.state == "queued", _columns.priority == bindparam("lane"))
    .order_by(_columns.fair_position)
    .limit(1)
)
_highest = (
    select(_columns.fair_position)
    .where(
        _columns.athlete_id == strava_athletes.c.id,
        _columns.priority == bindparam("lane"),
        IS_LIVE,
    )
    .order_by(_columns.fair_position.desc())
    .limit(1)
)
_FRONT = select(null().cast(BigInteger).label("athlete_id"), _lowest.scalar_subquery().label("fair_position"))
_LAST = select(strava_athletes.c.id, _highest.scalar_subquery()).where(
    among(strava_athletes.c.id, "athletes")
)


@cache
def _positions(dialect: str) -> Any:
    """Return the statement that reads positions, and wakes the workers of all processes at the commit.

    Differs because only PostgreSQL can wake other processes.
    """
    if dialect != "postgresql":
        return union_all(_FRONT, _LAST)
    return union_all(_FRONT.where(func.pg_notify("feedzone_jobs", "").cast(Text).is_not(None)), _LAST)


def assign_positions(connection: Connection, specs: Iterable[JobSpec]) -> dict[tuple[str, str, int], int]:
    """Return the fair position of each new job, by kind, key and athlete; wake the workers."""
    positions: dict[tuple[str, str, int], int] = {}
    lanes: dict[Lane, list[JobSpec]] = {}
    for spec in specs:
        lanes.setdefault(spec.lane, []).append(spec)
    for lane, of_lane in lanes.items():
        athletes = sorted({spec.athlete_id for spec in of_lane})
        rows: Any = connection.execute(
            _positions(connection.dialect.name), {"lane": int(lane), "athletes": athletes}
        )
        last = {row.athlete_id: row.fair_position for row in rows}
        front = last.pop(None, None) or 0
        following = {
            athlete_id: max(front, fair_position + 1)
            for athlete_id, fair_position in last.items()
            if fair_position is not None
        }
        for spec in sorted(of_lane, key=lambda spec: spec.rank):
            if spec.first:
                fair_position = front - 1
            else:
                fair_position = following.get(spec.athlete_id, front)
                following[spec.athlete_id] = fair_position + 1
            positions[spec.kind, spec.key, spec.athlete_id] = fair_position
    return positions


def first(connection: Connection, lane: Lane) -> int:
    """Return a fair position before all others of the lane."""
    return (connection.execute(_FRONT, {"lane": int(lane)}).one().fair_position or 0) - 1
