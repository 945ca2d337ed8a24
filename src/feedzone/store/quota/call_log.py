"""The call log: every call of the last eight days, to show what spent the rate limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
)

from ...domain.ids import uuid7
from ...domain.quota.demand import EPOCH, IN_VAIN, QUARTER, Counted
from ...domain.quota.windows import ApiCall
from ...ports import Clock
from .. import athletes
from ..engine.database import Database
from ..engine.dialect import hour_of_day, insert_for, quarter_of
from ..schema.tables import call_log

MAX_AGE = timedelta(days=8)
"""A week to learn from, and the current day."""

WRITTEN_WITHIN = timedelta(hours=1)
"""Calls noted during an outage of the database are written later. Older quarters do not change any more."""

MOST_NOTED = 10_000
"""Calls in memory while the database does not answer. Beyond that the oldest are dropped."""

# Frequent statements are built once: building one takes longer than running it.
_FIRST = select(func.min(call_log.c.sent_at)).where(call_log.c.sent_at >= bindparam("since"))


@cache
def _insert_new(dialect: str) -> Any:
    return insert_for(dialect, call_log).on_conflict_do_nothing()


@cache
def _by_quarter(dialect: str) -> Select[Any]:
    calls = call_log.c
    quarter = quarter_of(dialect, calls.sent_at).label("quarter")
    # Anybody can announce activities that do not exist: such calls are no demand.
    in_vain = and_(calls.status == literal_column("404"), calls.lane == literal_column("'live'"))
    lane = case((in_vain, literal_column(f"'{IN_VAIN}'")), else_=calls.lane).label("lane")
    return (
        select(quarter, lane, func.sum(calls.calls).label("calls"))
        .where(calls.sent_at >= bindparam("since"), calls.counted)
        .group_by(quarter, lane)
    )


class CallLog:
    """The table `call_log` (ports.CallJournal).

    Calls are noted in memory and written a few seconds later, many in one transaction, so a call needs no
    transaction of its own. A killed process loses the notes of its last two seconds. The budget loses
    nothing: it counts each call before the call is sent (budget.py).
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted_calls: dict[str, ApiCall] = {}
        self._noted = asyncio.Event()
        self._flushing = asyncio.Lock()

    def note(self, call: ApiCall) -> None:
        if len(self._noted_calls) >= MOST_NOTED:
            del self._noted_calls[next(iter(self._noted_calls))]
        self._noted_calls[uuid7(int(call.sent_at.timestamp() * 1000))] = call
        self._noted.set()

    async def noted(self) -> None:
        """Wait until there is a call to write."""
        await self._noted.wait()

    async def flush(self) -> int:
        """Write the noted calls; return how many."""
        async with self._flushing:
            batch = dict(self._noted_calls)
            if not batch:
                return 0
            await self._database.write(lambda c: _write(c, batch))
            for name in batch:
                self._noted_calls.pop(name, None)
            if not self._noted_calls:
                self._noted.clear()
            return len(batch)


def _write(connection: Connection, batch: Mapping[str, ApiCall]) -> None:
    # Do not name athletes again that have left since the call. A purge that begins now waits for this
    # transaction.
    statuses = athletes.statuses(connection, {call.athlete_id for call in batch.values() if call.athlete_id})
    connected = {athlete_id for athlete_id, status in statuses.items() if status != "deauthorized"}
    rows = [_row(name, call, named=call.athlete_id in connected) for name, call in batch.items()]
    # A cancelled flush may have been written; then these rows are there already.
    connection.execute(_insert_new(connection.dialect.name), rows)


def _row(name: str, call: ApiCall, *, named: bool) -> dict[str, Any]:
    """Return the row of a call. It names the athlete and the activity only if the athlete is connected."""
    return {
        "id": name,
        "sent_at": call.sent_at,
        "lane": call.lane,
        "athlete_id": call.athlete_id if named else None,
        "endpoint": call.endpoint,
        "status": call.status,
        "ms": call.ms,
        "usage": msgspec.json.encode(call.usage).decode() if call.usage else None,
        "counted": call.counted,
        "calls": call.calls,
        "activity_id": call.activity_id if named else None,
    }


def is_old(now: datetime) -> ColumnElement[bool]:
    """Match the calls older than MAX_AGE."""
    return call_log.c.sent_at < now - MAX_AGE


class Seen(NamedTuple):
    """The calls of at most the last seven days, by lane and quarter of an hour."""

    since: datetime | None
    rows: list[Counted]
    at: datetime


def counted(connection: Connection, now: datetime, known: Seen | None = None) -> Seen:
    """Count the calls of the week before `now`; quarters that ended before `known` are not read again."""
    week = now - timedelta(days=7)
    first = connection.execute(_FIRST, {"since": week}).scalar()
    settled: list[Counted] = []
    since = week
    if known is not None and week < known.at <= now:
        settled_to = (known.at - WRITTEN_WITHIN - EPOCH) // QUARTER
        week_from = (week - EPOCH) // QUARTER
        settled = [row for row in known.rows if week_from <= row.quarter < settled_to]
        since = max(week, EPOCH + settled_to * QUARTER)
    sums = connection.execute(_by_quarter(connection.dialect.name), {"since": since})
    return Seen(first, settled + [Counted(row.quarter, row.lane, row.calls) for row in sums], now)


def mean_ms(connection: Connection, now: datetime) -> float | None:
    """Return the mean duration of the last hour's calls; None if there were none."""
    calls = call_log.c
    query = select(func.avg(calls.ms)).where(
        calls.sent_at >= now - timedelta(hours=1), calls.status.is_not(None)
    )
    mean = connection.execute(query).scalar()
    return None if mean is None else float(mean)


def spent(connection: Connection, since: datetime, *, by: str, most: int | None = None) -> Sequence[Row[Any]]:
    """Count the calls since then by a column, or by the `hour` of the day; the largest count first."""
    calls = call_log.c
    # The sign keeps SQLite from the index by athlete, along which it would read the rows of all days.
    group: ColumnElement[Any] = {
        "lane": calls.lane,
        "athlete_id": literal_column("+athlete_id"),
        "hour": hour_of_day(connection, calls.sent_at),
    }[by]
    count = func.sum(calls.calls)
    rows: Any = connection.execute(
        select(group.label("what"), count.label("calls"))
        .where(calls.sent_at >= since, calls.counted)
        .group_by(group)
        .order_by(count.desc(), group)
        .limit(most)
    ).all()
    return list(rows)
