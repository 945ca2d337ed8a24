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
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, func, select, update

from ..domain.event import VisibleUpdate
from ..domain.job import Lane
from ..domain.json_text import clean_text
from ..domain.quota.reserve import max_reserve
from ..ports import Clock
from . import athletes, batches
from .engine.database import Database
from .engine.dialect import among
from .quota import breaker, windows
from .schema.tables import jobs, strava_activities, strava_athletes

SHOWN_FOR = timedelta(minutes=10)
"""How long an unproven title or type is shown without a fetch. Usually the fetch takes seconds."""

HIDDEN_FOR = timedelta(hours=24)
"""The same for privacy, which is safer to believe: the calls of the next day decide at the latest."""

_columns = strava_activities.c
_FIELDS = ("name", "type", "sport_type", "private", "visibility")
"""The columns that an event may show before a fetch."""

_LOCKED = (
    select(
        _columns.id,
        _columns.athlete_id,
        _columns.last_event_time,
        _columns.unconfirmed,
        *(_columns[field] for field in _FIELDS),
    )
    .where(among(_columns.id, "ids"), _columns.sync_status != "deleted")
    .order_by(_columns.id)
    .with_for_update()
)
_CHANGE = update(strava_activities).where(_columns.id == bindparam("activity"))
_WRITTEN = (*_FIELDS, "unconfirmed", "unconfirmed_until", "last_event_time", "updated_at")
_SHOW = _CHANGE.values({name: bindparam(name) for name in _WRITTEN})
_SHOWN = (
    select(_columns.id, _columns.unconfirmed)
    .where(_columns.unconfirmed_until.is_not(None))
    .order_by(_columns.id)
    .with_for_update()
)
_OF_ACTIVE = exists().where(strava_athletes.c.id == _columns.athlete_id, strava_athletes.c.status == "active")
OF_OTHERS = and_(_columns.unconfirmed_until.is_not(None), ~_OF_ACTIVE)
"""No fetch can confirm these values: Strava cannot be asked about their athlete any more."""


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
    status = athletes.statuses(connection, {claim.update.athlete_id for claim in claims})
    soon = _lanes_with_room(connection, now) if any(not claim.proven for claim in claims) else {}
    ids = {"ids": sorted({claim.update.activity_id for claim in claims})}
    rows = {row.id: dict(row._mapping) for row in connection.execute(_LOCKED, ids)}
    changed: dict[int, dict[str, Any]] = {}
    for claim in claims:
        row, shown_for = rows.get(claim.update.activity_id), timedelta()
        if row is None or not (claim.proven or status.get(claim.update.athlete_id) == "active"):
            continue
        if soon.get(claim.lane, False):
            shown_for = SHOWN_FOR
        ends = (None, None) if claim.proven else (_end(now, shown_for), _end(now, HIDDEN_FOR))
        if _apply(claim.update, row, *ends, words=claim.proven or bool(shown_for)):
            changed[claim.update.activity_id] = row
    if changed:
        connection.execute(_SHOW, [_written(row, now) for row in changed.values()])


def _apply(
    claim: VisibleUpdate,
    row: dict[str, Any],
    shown_until: int | None,
    hidden_until: int | None,
    *,
    words: bool,
) -> bool:
    """Put the values into the row until these times (None: until a fetch); return whether there are any.

    A newer event that was applied wins. An event can make an activity private. Only a fetch makes it visible
    again, because anybody can forge an event (guarantee 3).
    """
    newest = row["last_event_time"]
    if row["athlete_id"] != claim.athlete_id or (newest is not None and newest > claim.event_time):
        return False
    values = _words(claim, row["type"]) if words else {}
    ends = dict.fromkeys(values, shown_until)
    if claim.private:
        hidden = {"private": True, "visibility": "only_me"}
        values |= hidden
        ends |= dict.fromkeys(hidden, hidden_until)
    if not values:
        return False
    fields = _decoder.decode(row["unconfirmed"]) if row["unconfirmed"] else {}
    for field in values:
        fields[field] = Shown(fields[field].was if field in fields else row[field], ends[field])
    row.update(values, last_event_time=claim.event_time, **encoded(fields))
    return True


def _written(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    values = {**row, "updated_at": now}
    return {"activity": row["id"]} | {name: values[name] for name in _WRITTEN}


def _words(claim: VisibleUpdate, coarse_type: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if claim.name is not None:
        values["name"] = clean_text(claim.name)
    if claim.type is not None:
        values["type"] = clean_text(claim.type)
        if coarse_type != claim.type:  # otherwise the coarse type still includes the finer one
            values["sport_type"] = values["type"]
    return values


def _end(now: datetime, shown_for: timedelta) -> int:
    return int((now + shown_for).timestamp())


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
    connection: Connection, now: datetime, which: ColumnElement[bool], *, end: datetime | None = None
) -> int:
    """Restore the unproven fields of some of these activities to the last fetch; return of how many.

    With `end`, only the fields whose time is over by then.
    """
    rows = connection.execute(_SHOWN.where(_columns.id.in_(_some(which, batches.AT_ONCE)))).all()
    for row in rows:
        _restore(connection, row.id, row.unconfirmed, now, end)
    return len(rows)


def _some(which: ColumnElement[bool], most: int) -> Select[tuple[int]]:
    # In no order: to avoid sorting, SQLite would read the table instead of the index.
    return select(_columns.id).where(which).limit(most)


def ended_by(now: datetime) -> ColumnElement[bool]:
    """Match the activities with a value whose time is over."""
    return _columns.unconfirmed_until <= now


def any_shown(connection: Connection, which: ColumnElement[bool]) -> bool:
    """Return whether there is such an activity."""
    return connection.execute(_some(which, 1)).first() is not None


def take_back_activity(connection: Connection, activity_id: int, now: datetime) -> None:
    """Restore one activity, whose fetch has failed for good."""
    take_back(connection, now, _columns.id == activity_id)


def _restore(
    connection: Connection, activity_id: int, text: str, now: datetime, end: datetime | None
) -> None:
    limit = None if end is None else int(end.timestamp())
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
    """Takes back the values that no fetch has confirmed in time, or that none can confirm any more."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> int:
        """Restore all of these fields; return the number of activities."""
        now, count = self._clock.now(), 0
        for which, end in ((ended_by(now), now), (OF_OTHERS, None)):
            while await self._database.read(partial(any_shown, which=which)):
                back = partial(take_back, now=now, which=which, end=end)
                count += await self._database.write(back)
        return count


def forget(row: Row[Any], fetched: Iterable[str]) -> dict[str, Any]:
    """Return the columns that keep the shown fields without those that a fetch has just confirmed."""
    names = set(fetched)
    return encoded({field: shown for field, shown in unconfirmed(row).items() if field not in names})
