"""Show the values of update events before a fetch confirms them, and take them back if none does.

`strava_activities.unconfirmed` keeps the value of the last fetch for each shown field. The change feed is
written when a fetch confirms the value (docs/decisions/0013-shown-updates.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, or_, select, update

from ..domain.event import VisibleUpdate
from ..domain.job import Lane
from ..domain.json_text import clean_text
from ..domain.quota.reserve import max_reserve
from ..ports import Clock
from . import athletes
from .engine.database import Database
from .quota import breaker, windows
from .schema.tables import jobs, strava_activities

SHOWN_FOR = timedelta(minutes=10)
"""How long an unproven title or type is shown without a fetch. Usually the fetch takes seconds."""

HIDDEN_FOR = timedelta(hours=24)
"""The same for privacy, which is safer to believe: the calls of the next day decide at the latest."""

BATCH = 200

_columns = strava_activities.c
_NEWER = select(strava_activities).where(
    _columns.id == bindparam("activity"),
    _columns.athlete_id == bindparam("athlete"),
    _columns.sync_status != "deleted",
    or_(_columns.last_event_time.is_(None), _columns.last_event_time <= bindparam("event_time")),
)
_LOCKED_NEWER = _NEWER.with_for_update()
_CHANGE = update(strava_activities).where(_columns.id == bindparam("activity"))
_SHOWN = (
    select(_columns.id, _columns.unconfirmed)
    .where(_columns.unconfirmed_until.is_not(None))
    .order_by(_columns.id)
    .limit(BATCH)
    .with_for_update()
)
_DUE = select(_columns.id).where(_columns.unconfirmed_until <= bindparam("now")).limit(1)


class Shown(msgspec.Struct, frozen=True):
    """A field that an event changed and no fetch has confirmed yet."""

    was: Any
    """Its value at the last fetch."""
    until: int | None = None
    """When that value comes back, epoch seconds. None: a signature proves the event, so it does not."""


class Claim(NamedTuple):
    """The values that an event carries, whether a signature proves them, and the lane of their fetch."""

    update: VisibleUpdate
    proven: bool
    lane: Lane


_decoder = msgspec.json.Decoder(dict[str, Shown])


def unconfirmed(row: Row[Any]) -> dict[str, Shown]:
    """Return the shown fields of the row."""
    return _decoder.decode(row.unconfirmed) if row.unconfirmed else {}


def confirmed_values(row: Row[Any]) -> Mapping[str, Any]:
    """Return the row's values as the last fetch left them."""
    return {**row._mapping, **{field: shown.was for field, shown in unconfirmed(row).items()}}


def encoded(fields: Mapping[str, Shown]) -> dict[str, Any]:
    """Return the columns that keep these shown fields."""
    ends = [shown.until for shown in fields.values() if shown.until is not None]
    return {
        "unconfirmed": msgspec.json.encode(fields).decode() if fields else None,
        "unconfirmed_until": datetime.fromtimestamp(min(ends), UTC) if ends else None,
    }


def show(connection: Connection, claims: Sequence[Claim], now: datetime) -> None:
    """Write the values of new events that are proven, or that a fetch is going to confirm soon."""
    owners = {claim.update.athlete_id for claim in claims}
    status = athletes.statuses(connection, owners)
    soon = _lanes_with_room(connection, now) if any(not claim.proven for claim in claims) else {}
    for claim in claims:
        active = status.get(claim.update.athlete_id) == "active"
        if claim.proven:
            _write(connection, claim.update, now, shown_for=None, hidden_for=None)
        elif active:
            room = soon.get(claim.lane, False)
            _write(
                connection,
                claim.update,
                now,
                shown_for=SHOWN_FOR if room else timedelta(),
                hidden_for=HIDDEN_FOR,
            )


def _write(
    connection: Connection,
    claim: VisibleUpdate,
    now: datetime,
    *,
    shown_for: timedelta | None,
    hidden_for: timedelta | None,
) -> None:
    """Show the values for these times (None: until a fetch), unless a newer event was applied.

    An event can make an activity private. Only a fetch makes it visible again, because anybody can forge an
    event (guarantee 3).
    """
    which = {
        "activity": claim.activity_id,
        "athlete": claim.athlete_id,
        "event_time": claim.event_time,
    }
    row = connection.execute(_LOCKED_NEWER, which).first()
    if row is None:
        return
    values: dict[str, Any] = {}
    if shown_for is None or shown_for:
        values = _words(claim, row)
    ends = dict.fromkeys(values, _end(now, shown_for))
    if claim.private:
        hidden = {"private": True, "visibility": "only_me"}
        values |= hidden
        ends |= dict.fromkeys(hidden, _end(now, hidden_for))
    if not values:
        return
    fields = unconfirmed(row)
    for field in values:
        was = fields[field].was if field in fields else row._mapping[field]
        fields[field] = Shown(was, ends[field])
    changes = values | encoded(fields) | {"last_event_time": claim.event_time, "updated_at": now}
    connection.execute(_CHANGE, {"activity": row.id, **changes})


def _words(claim: VisibleUpdate, row: Row[Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if claim.name is not None:
        values["name"] = clean_text(claim.name)
    if claim.type is not None:
        values["type"] = clean_text(claim.type)
        if row.type != claim.type:  # otherwise the coarse type still includes the finer one
            values["sport_type"] = values["type"]
    return values


def _end(now: datetime, shown_for: timedelta | None) -> int | None:
    return None if shown_for is None else int((now + shown_for).timestamp())


def _lanes_with_room(connection: Connection, now: datetime) -> dict[Lane, bool]:
    """Return whether a fetch can leave now: in the live lane, and in the lane of many updates.

    The jobs that wait in the live lane go first. The other lane needs calls outside the largest reserve.
    """
    if breaker.is_open(connection):
        return {}
    current = windows.current(connection, now, lock=False).values()
    left = min(0 if window.full else window.quota - window.used for window in current)
    ahead = (
        select(jobs.c.calls)
        .where(jobs.c.state == "queued", jobs.c.priority == int(Lane.LIVE))
        .limit(max(1, left + 1))
        .subquery()
    )
    waiting = connection.execute(select(func.coalesce(func.sum(ahead.c.calls), 0))).scalar_one()
    unreserved = min(window.quota - window.used - max_reserve(window.quota) for window in current)
    return {Lane.LIVE: left >= max(1, waiting), Lane.RECONCILE: unreserved > waiting}


def take_back(
    connection: Connection, now: datetime, which: ColumnElement[bool], *, ended_by: datetime | None = None
) -> int:
    """Restore the unproven fields of these activities to what the last fetch said; return how many rows.

    With `ended_by`, only the fields whose time is over by then.
    """
    rows = connection.execute(_SHOWN.where(which)).all()
    for row in rows:
        _restore(connection, row.id, row.unconfirmed, now, ended_by)
    return len(rows)


def take_back_activity(connection: Connection, activity_id: int, now: datetime) -> None:
    """Restore one activity, whose fetch has failed for good."""
    take_back(connection, now, _columns.id == activity_id)


def take_back_athlete(connection: Connection, athlete_id: int, now: datetime) -> None:
    """Restore all activities of an athlete, because Strava cannot be asked any more."""
    while take_back(connection, now, _columns.athlete_id == athlete_id) == BATCH:
        pass


def _restore(
    connection: Connection, activity_id: int, text: str, now: datetime, ended_by: datetime | None
) -> None:
    limit = None if ended_by is None else int(ended_by.timestamp())
    fields = _decoder.decode(text)
    ended = {
        field
        for field, shown in fields.items()
        if shown.until is not None and (limit is None or shown.until <= limit)
    }
    values = {field: fields[field].was for field in ended}
    rest = {field: shown for field, shown in fields.items() if field not in ended}
    connection.execute(_CHANGE, {"activity": activity_id, **values, **encoded(rest), "updated_at": now})


class ShownUpdatesSchedule:
    """Takes back, when their time is over, the values that no fetch has confirmed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> int:
        """Restore all fields that are due; return the number of activities."""
        now, count = self._clock.now(), 0
        while await self._database.read(lambda c: c.execute(_DUE, {"now": now}).first()):
            due = _columns.unconfirmed_until <= now
            count += await self._database.write(partial(take_back, now=now, which=due, ended_by=now))
        return count


def forget(row: Row[Any], fetched: Iterable[str]) -> dict[str, Any]:
    """Return the columns that keep the shown fields without those that a fetch has just confirmed."""
    names = set(fetched)
    return encoded({field: shown for field, shown in unconfirmed(row).items() if field not in names})
