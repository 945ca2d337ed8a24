"""Jobs that wait although they could run: for a list that goes first, or for room within the rate limit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select, update

from ...domain.job import Hint, Lane, decode_hint
from ..schema.tables import IS_LIVE, jobs

_columns = jobs.c

_LIVE_REFRESHES = update(jobs).where(
    _columns.state == "queued",
    _columns.kind == "refresh_activity",
    _columns.priority == int(Lane.LIVE),
)
_OF_ATHLETES = _columns.athlete_id.in_(bindparam("athletes", expanding=True))
_THESE = _columns.id.in_(bindparam("picked", expanding=True))
_LET_PASS = _LIVE_REFRESHES.where(_OF_ATHLETES, _columns.due_at <= bindparam("now")).values(
    due_at=bindparam("until"), wait_reason="list_first"
)
_LET_THESE_PASS = update(jobs).where(_THESE).values(due_at=bindparam("until"), wait_reason="list_first")
_GO_ON = _LIVE_REFRESHES.where(
    _OF_ATHLETES, _columns.due_at > bindparam("now"), _columns.wait_reason == "list_first"
).values(due_at=bindparam("now"), wait_reason=None)

AT_ONCE = 200
"""So many jobs are put off in one transaction: nobody who stores an event has to wait long for it."""

_DUE = select(_columns.id).where(
    _columns.state == "queued", _columns.due_at <= bindparam("now"), _columns.priority == bindparam("lane")
)
_ANY_DUE = _DUE.limit(1)
_CLOSED = _DUE.limit(AT_ONCE).with_for_update(skip_locked=True)
_PUT_OFF = (
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
    """What events caused for these athletes, and is due, waits a moment: a list goes first."""
    due = {"athletes": sorted(athlete_ids), "now": now, "until": until}
    connection.execute(_LET_PASS, due)


def defer_new_for_list(
    connection: Connection, came: Iterable[Row[Any]], now: datetime, until: datetime
) -> None:
    """So do these jobs, which just came. What came before is not put off again by each event that comes.

    Which of them wait is told by their rows: asked for it, SQLite looks at all that waits (_LIVE_REFRESHES).
    """
    picked = [
        row.id
        for row in came
        if (row.kind, row.state, row.priority) == ("refresh_activity", "queued", Lane.LIVE)
        and row.due_at <= now
    ]
    if picked:
        connection.execute(_LET_THESE_PASS, {"picked": picked, "until": until})


def resume_after_list(connection: Connection, athlete_id: int, now: datetime) -> None:
    """The list is there: what waited for it is due."""
    connection.execute(_GO_ON, {"athletes": [athlete_id], "now": now})


def any_due(connection: Connection, lane: Lane, now: datetime) -> bool:
    """Whether there is something to put off: to look costs less than to try."""
    return connection.execute(_ANY_DUE, {"now": now, "lane": int(lane)}).first() is not None


def postpone_lane(connection: Connection, lane: Lane, now: datetime, until: datetime, reason: str) -> int:
    """What is due in a lane without room is due when there will be some; returns how many jobs that were.

    That costs no attempt. At most AT_ONCE jobs are put off: call it again as long as they were so many.
    """
    picked = connection.execute(_CLOSED, {"now": now, "lane": int(lane)}).scalars().all()
    if picked:
        connection.execute(_PUT_OFF, {"picked": picked, "until": until, "reason": reason, "now": now})
    return len(picked)


def resume_after_limit_raise(connection: Connection, now: datetime) -> None:
    """The limit was raised: what waited for the old one is due."""
    waiting = update(jobs).where(
        _columns.state == "queued",
        _columns.due_at > now,
        _columns.wait_reason == "quota",
    )
    connection.execute(waiting.values(due_at=now, wait_reason=None))


class Live(NamedTuple):
    """What a live job is about to do; `running`: it does so just now."""

    hint: Hint
    running: bool


def live(connection: Connection, kind: str, keys: Iterable[str]) -> dict[int, Live]:
    """The live jobs of this kind, by athlete."""
    query = select(jobs.c.athlete_id, jobs.c.hint, jobs.c.state).where(
        jobs.c.kind == kind, jobs.c.key.in_(sorted(keys)), IS_LIVE
    )
    return {
        row.athlete_id: Live(decode_hint(row.hint), row.state == "running")
        for row in connection.execute(query)
    }
