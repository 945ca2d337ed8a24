"""The journal of calls: every one, kept for eight days, so that it can be said what spent the quota."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, delete, func, select

from ...domain.ids import uuid7
from ...domain.quota.demand import Counted
from ...domain.quota.windows import ApiCall
from ...ports import Clock
from .. import athletes
from ..engine.database import Database
from ..engine.dialect import hour_of_day, insert_for, quarter_of
from ..schema.tables import call_log

KEPT = timedelta(days=8)
"""A week to learn from, and the day that is just being spent."""

MOST_HELD = 10_000
"""How many calls wait in memory for a database that does not answer; then the oldest are forgotten."""

# What every few seconds and every hour run is built once: to build a statement takes longer than to run it.
_OLD = delete(call_log).where(call_log.c.sent_at < bindparam("before"))
_FIRST = select(func.min(call_log.c.sent_at)).where(call_log.c.sent_at >= bindparam("since"))


@cache
def _insert_new(dialect: str) -> Any:
    return insert_for(dialect, call_log).on_conflict_do_nothing()


@cache
def _by_quarter(dialect: str) -> Select[Any]:
    calls = call_log.c
    quarter = quarter_of(dialect, calls.sent_at).label("quarter")
    return (
        select(quarter, calls.lane, func.sum(calls.calls).label("calls"))
        .where(calls.sent_at >= bindparam("since"), calls.counted)
        .group_by(quarter, calls.lane)
    )


class CallLog:
    """The table `api_calls` (ports.CallJournal).

    Calls are noted in memory and written a few seconds later, many in one transaction: a call costs the
    database nothing of its own. A process that is killed takes its last two seconds of notes with it. The
    budget itself loses nothing by that: it is counted before a call is sent (budget.py).
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._held: dict[str, ApiCall] = {}
        self._noted = asyncio.Event()
        self._flushing = asyncio.Lock()

    def note(self, call: ApiCall) -> None:
        if len(self._held) >= MOST_HELD:
            del self._held[next(iter(self._held))]
        self._held[uuid7(int(call.sent_at.timestamp() * 1000))] = call
        self._noted.set()

    async def noted(self) -> None:
        """Wait until there is something to write."""
        await self._noted.wait()

    async def flush(self) -> int:
        """Write what was noted; returns how many calls that were."""
        async with self._flushing:
            batch = dict(self._held)
            if not batch:
                return 0
            await self._database.write(lambda c: _write(c, batch))
            for name in batch:
                self._held.pop(name, None)
            if not self._held:
                self._noted.clear()
            return len(batch)


def _write(connection: Connection, batch: Mapping[str, ApiCall]) -> None:
    # Whoever has left since the call was made stays gone; whoever leaves now waits for us.
    known = athletes.statuses(connection, {call.athlete_id for call in batch.values() if call.athlete_id})
    here = {athlete_id for athlete_id, status in known.items() if status != "deauthorized"}
    rows = [_row(name, call, known=call.athlete_id in here) for name, call in batch.items()]
    # A flush that was cancelled may have been written all the same; then these are no news.
    connection.execute(_insert_new(connection.dialect.name), rows)


def _row(name: str, call: ApiCall, *, known: bool) -> dict[str, Any]:
    """For whom, and of which activity, is told of athletes who are here alone."""
    return {
        "id": name,
        "sent_at": call.sent_at,
        "lane": call.lane,
        "athlete_id": call.athlete_id if known else None,
        "endpoint": call.endpoint,
        "status": call.status,
        "ms": call.ms,
        "usage": msgspec.json.encode(call.usage).decode() if call.usage else None,
        "counted": call.counted,
        "calls": call.calls,
        "activity_id": call.activity_id if known else None,
    }


def prune(connection: Connection, now: datetime) -> int:
    """Remove calls that are older than KEPT; returns how many."""
    return connection.execute(_OLD, {"before": now - KEPT}).rowcount


class Seen(NamedTuple):
    """The calls of the last seven days, or of as many as there are, by lane and quarter of an hour."""

    since: datetime | None
    rows: list[Counted]


def counted(connection: Connection, now: datetime) -> Seen:
    week = {"since": now - timedelta(days=7)}
    first = connection.execute(_FIRST, week).scalar()
    sums = connection.execute(_by_quarter(connection.dialect.name), week)
    return Seen(first, [Counted(row.quarter, row.lane, row.calls) for row in sums])


def mean_ms(connection: Connection, now: datetime) -> float | None:
    """How long a call of the last hour took; None: there were none."""
    calls = call_log.c
    query = select(func.avg(calls.ms)).where(
        calls.sent_at >= now - timedelta(hours=1), calls.status.is_not(None)
    )
    mean = connection.execute(query).scalar()
    return None if mean is None else float(mean)


def spent(connection: Connection, since: datetime, *, by: str, most: int | None = None) -> Sequence[Row[Any]]:
    """How many `calls` counted since then, by a column, or by the `hour` of the day; the most first."""
    calls = call_log.c
    what = hour_of_day(connection, calls.sent_at) if by == "hour" else calls[by]
    count = func.sum(calls.calls)
    rows: Any = connection.execute(
        select(what.label("what"), count.label("calls"))
        .where(calls.sent_at >= since, calls.counted)
        .group_by(what)
        .order_by(count.desc(), what)
        .limit(most)
    ).all()
    return list(rows)
