"""Photos of activities: the list as received, or whether it is still to come (pain 22)."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, literal, select, update

from ..domain.effect import AskForPhotos, StorePhotos
from ..domain.freshness import next_photo_recheck
from ..domain.job_kinds import job_key
from ..domain.photos import StoredPhotos, photos_refresh
from .engine.dialect import insert_for
from .engine.types import Instant
from .jobs import lifecycle
from .schema.tables import activity_photos

_columns = activity_photos.c

# Statements of every activity's way are built once: to build one takes longer than to run it.
_ROW = select(activity_photos).where(_columns.activity_id == bindparam("activity"))
_CHANGE = update(activity_photos).where(_columns.activity_id == bindparam("activity"))


@cache
def _expected(dialect: str) -> Any:
    statement = insert_for(dialect, activity_photos)
    told = {name: statement.excluded[name] for name in ("athlete_id", "state", "photo_count")}
    return statement.on_conflict_do_update(index_elements=["activity_id"], set_=told | {"asked_at": None})


def ask(connection: Connection, wanted: AskForPhotos, now: datetime) -> None:
    """The detail says how many photos there are: have them fetched, unless we hold those.

    What is waited for already keeps its pace; what was absent gets one look whenever the activity does.
    """
    # Jobs are locked before what they write (jobs.lock).
    lifecycle.lock(connection, [job_key("refresh_photos", wanted.activity_id)])
    held = get(connection, wanted.activity_id)
    if wanted.count < 1:
        gone = {"state": "absent", "photo_count": 0, "photos": None, "asked_at": None}
        connection.execute(_CHANGE, {"activity": wanted.activity_id, **gone})
        return
    news = held is None or held.photo_count != wanted.count
    if held is not None and not news and held.state == "present":
        return
    if news:
        _expect(connection, wanted)
    due = now
    if held is not None and not news and held.state == "pending" and held.asked_at is not None:
        due = next_photo_recheck(held.asked_at, now) or now
    spec = photos_refresh(wanted.athlete_id, wanted.activity_id, wanted.lane, due)
    lifecycle.enqueue(connection, [spec], now)


def _expect(connection: Connection, wanted: AskForPhotos) -> None:
    """Another number of photos: those that are stored are shown until there are better ones."""
    row = {
        "activity_id": wanted.activity_id,
        "athlete_id": wanted.athlete_id,
        "state": "pending",
        "photo_count": wanted.count,
    }
    connection.execute(_expected(connection.dialect.name), row)


def store(connection: Connection, photos: StorePhotos, now: datetime) -> None:
    """Write what came. Without a row there is no such activity any more, and nothing is written."""
    values: dict[str, Any] = {
        "state": photos.state,
        "asked_at": func.coalesce(_columns.asked_at, literal(now, Instant)),
    }
    if photos.photos is not None:
        values |= {"photos": photos.photos, "fetched_at": now}
    connection.execute(_CHANGE.values(**values), {"activity": photos.activity_id})


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    return connection.execute(_ROW, {"activity": activity_id}).first()


def held(connection: Connection, activity_id: int) -> StoredPhotos | None:
    row = get(connection, activity_id)
    return None if row is None else StoredPhotos(row.state, row.asked_at, row.photos is not None)
