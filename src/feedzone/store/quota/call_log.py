"""The call log: every call of the last eight days, to show what spent the rate limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    literal_column,
    select,
)

from ...domain.ids import uuid7
from ...domain.job import Lane
from ...domain.quota.demand import IN_VAIN, Counted, quarter_of
from ...domain.quota.windows import ApiCall
from ...ports import Clock
from .. import athletes
from ..engine.database import Database
from ..engine.dialect import insert_for
from ..schema.tables import call_counts, call_log

MAX_AGE = timedelta(days=8)
"""A week to learn from, and the current day."""

LIVE = Lane.LIVE.name.lower()

MOST_NOTED = 10_000
"""Calls in memory while the database does not answer. Beyond that the oldest are dropped."""

# Frequent statements are built once: building one takes longer than running it.
_FIRST = select(func.min(call_log.c.sent_at)).where(call_log.c.sent_at >= bindparam("since"))
_COUNTED = select(call_counts).where(call_counts.c.quarter >= bindparam("since"))


@cache
def _insert_new(dialect: str) -> Any:
    return insert_for(dialect, call_log).on_conflict_do_nothing().returning(call_log.c.id)


@cache
def _count_more(dialect: str) -> Any:
    statement = insert_for(dialect, call_counts)
    new, old = statement.excluded, call_counts.c
    more = {"calls": old.calls + new.calls, "in_vain": old.in_vain + new.in_vain}
    return statement.on_conflict_do_update(index_elements=[old.quarter, old.lane], set_=more)


class CallLog:
    """The tables `call_log` and `call_counts` (ports.CallJournal).

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
    # A cancelled flush may have been written; then these rows are there already, and counted.
    written = connection.scalars(_insert_new(connection.dialect.name), rows).all()
    if counts := _counts(batch[name] for name in written):
        connection.execute(_count_more(connection.dialect.name), counts)


def _counts(calls: Iterable[ApiCall]) -> list[dict[str, Any]]:
    """Return the rows of `call_counts` for these calls, in one order for all processes."""
    counts: Counter[tuple[int, str]] = Counter()
    in_vain: Counter[tuple[int, str]] = Counter()
    for call in calls:
        if call.counted:
            key = (quarter_of(call.sent_at), call.lane)
            counts[key] += call.calls
            # Anybody can announce activities that do not exist: such calls are no demand.
            in_vain[key] += call.calls if call.lane == LIVE and call.status == 404 else 0
    return [
        {"quarter": key[0], "lane": key[1], "calls": counts[key], "in_vain": in_vain[key]}
        for key in sorted(counts)
    ]


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


def delete_old_counts(connection: Connection, now: datetime) -> int:
    """Delete the counts of quarters older than MAX_AGE; return how many."""
    old = call_counts.c.quarter < quarter_of(now - MAX_AGE)
    return connection.execute(delete(call_counts).where(old)).rowcount


class Seen(NamedTuple):
    """The calls of at most the last seven days, by lane and quarter of an hour."""

    since: datetime | None
    rows: list[Counted]


def counted(connection: Connection, now: datetime) -> Seen:
    """Return the counted calls of the week before `now`."""
    week = now - timedelta(days=7)
    first = connection.execute(_FIRST, {"since": week}).scalar()
    rows = []
    for row in connection.execute(_COUNTED, {"since": quarter_of(week)}):
        rows.append(Counted(row.quarter, row.lane, row.calls - row.in_vain))
        rows.append(Counted(row.quarter, IN_VAIN, row.in_vain))
    return Seen(first, [row for row in rows if row.calls])


def mean_ms(connection: Connection, now: datetime) -> float | None:
    """Return the mean duration of the last hour's calls; None if there were none."""
    calls = call_log.c
    query = select(func.avg(calls.ms)).where(
        calls.sent_at >= now - timedelta(hours=1), calls.status.is_not(None)
    )
    mean = connection.execute(query).scalar()
    return None if mean is None else float(mean)


def spent(connection: Connection, since: datetime) -> list[tuple[int, str, int]]:
    """Return the counted calls by quarter and lane, from the quarter that begins at `since` on."""
    rows = connection.execute(_COUNTED, {"since": quarter_of(since)})
    return sorted((row.quarter, row.lane, row.calls) for row in rows)


def spent_by_athlete(connection: Connection, since: datetime, most: int) -> Sequence[Row[Any]]:
    """Count the calls since then by athlete; the largest count first."""
    calls = call_log.c
    # The sign keeps SQLite from the index by athlete, along which it would read the rows of all days.
    athlete: ColumnElement[int | None] = literal_column("+athlete_id")
    count = func.sum(calls.calls)
    return connection.execute(
        select(athlete.label("athlete_id"), count.label("calls"))
        .where(calls.sent_at >= since, calls.counted)
        .group_by(athlete)
        .order_by(count.desc(), athlete)
        .limit(most)
    ).all()
