"""Defer due jobs: for a list call that goes first, or until the rate limit allows more calls."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select, update

from ...domain.job import Hint, Lane, decode_hint
from ..engine.dialect import among
from ..schema.tables import IS_LIVE, jobs

_columns = jobs.c

_LIVE_REFRESHES = select(_columns.id).where(
    _columns.state == "queued",
    _columns.kind == "refresh_activity",
    _columns.priority == int(Lane.LIVE),
)
_THESE = among(_columns.id, "picked")
_DEFER_THESE = update(jobs).where(_THESE).values(due_at=bindparam("until"), wait_reason="list_first")
AT_ONCE = 200
"""The most jobs to defer in one transaction: transactions that store events must not wait long for it."""

_NEXT_OF_ATHLETES = (
    _LIVE_REFRESHES.where(among(_columns.athlete_id, "athletes"), _columns.due_at <= bindparam("now"))
    .order_by(_columns.fair_position, _columns.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_WAIT_FOR_LIST = (
    _LIVE_REFRESHES.where(
        _columns.athlete_id == bindparam("athlete"),
        _columns.due_at > bindparam("now"),
        _columns.wait_reason == "list_first",
    )
    .order_by(_columns.id)
    .limit(AT_ONCE)
)
_RESUME = (
    update(jobs).where(_columns.id.in_(_WAIT_FOR_LIST)).values(due_at=bindparam("now"), wait_reason=None)
)

_DUE = select(_columns.id).where(
    _columns.state == "queued", _columns.due_at <= bindparam("now"), _columns.priority == bindparam("lane")
)
_ANY_DUE = _DUE.limit(1)
_PICK_DUE = _DUE.limit(AT_ONCE).with_for_update(skip_locked=True)
_LIVE_JOBS = select(_columns.athlete_id, _columns.hint, _columns.state).where(
    _columns.kind == bindparam("kind"), among(_columns.key, "keys"), IS_LIVE
)
_POSTPONE = (
    update(jobs)
    .where(_THESE)
    .values(
        due_at=bindparam("until"),
        wait_reason="quota",
        last_error=bindparam("reason"),
        updated_at=bindparam("now"),
    )
)


def defer_for_list(
    connection: Connection, athlete_ids: Iterable[int], now: datetime, until: datetime
) -> None:
    """Defer the due jobs that events caused for these athletes: a list call goes first.

    The next ones of the queue, AT_ONCE at most. No more can run before that call, which takes a second.
    """
    due = {"athletes": sorted(athlete_ids), "now": now, "most": AT_ONCE}
    if picked := connection.execute(_NEXT_OF_ATHLETES, due).scalars().all():
        connection.execute(_DEFER_THESE, {"picked": picked, "until": until})


def defer_new_for_list(
    connection: Connection, arrived: Iterable[Row[Any]], now: datetime, until: datetime
) -> None:
    """Defer the jobs among `arrived` that are due: a list call goes first.

    Only the new jobs: otherwise each new event would defer the older ones again. The rows tell which jobs are
    due, because SQLite would read the whole queue to find them (_LIVE_REFRESHES).
    """
    picked = [
        row.id
        for row in arrived
        if (row.kind, row.state, row.priority) == ("refresh_activity", "queued", Lane.LIVE)
        and row.due_at <= now
    ]
    if picked:
        connection.execute(_DEFER_THESE, {"picked": picked, "until": until})


def resume_after_list(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Make the jobs due that waited for the list, which is stored now; AT_ONCE at most.

    The others are due within seconds by themselves.
    """
    connection.execute(_RESUME, {"athlete": athlete_id, "now": now})


def any_due(connection: Connection, lane: Lane, now: datetime) -> bool:
    """Return whether there is a job to defer. This read is cheaper than the write."""
    return connection.execute(_ANY_DUE, {"now": now, "lane": int(lane)}).first() is not None


def postpone_lane(connection: Connection, lane: Lane, now: datetime, until: datetime, reason: str) -> int:
    """Defer the due jobs of a lane that may not call now; return how many.

    That costs no attempt. Call it again while it returns AT_ONCE, its maximum.
    """
    picked = connection.execute(_PICK_DUE, {"now": now, "lane": int(lane)}).scalars().all()
    if picked:
        connection.execute(_POSTPONE, {"picked": picked, "until": until, "reason": reason, "now": now})
    return len(picked)


class Live(NamedTuple):
    """The hint of a live job, and whether it runs now."""

    hint: Hint
    running: bool


def live(connection: Connection, kind: str, keys: Iterable[str]) -> dict[int, Live]:
    """Return the live jobs of this kind, by athlete."""
    return {
        row.athlete_id: Live(decode_hint(row.hint), row.state == "running")
        for row in connection.execute(_LIVE_JOBS, {"kind": kind, "keys": sorted(keys)})
    }
