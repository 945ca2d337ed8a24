"""Store the photos of activities: the list as received, or that it is still pending."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, literal, select, update

from ..domain.effect import AskForPhotos, StorePhotos
from ..domain.freshness import next_photo_recheck
from ..domain.job import photos_key
from ..domain.photos import StoredPhotos, photos_refresh
from .engine.dialect import insert_for
from .engine.types import Instant
from .jobs import lifecycle
from .schema.tables import activity_photos

_columns = activity_photos.c

# These statements run for every activity. They are built once, as building one takes longer than running it.
_ROW = select(activity_photos).where(_columns.activity_id == bindparam("activity"))
_CHANGE = update(activity_photos).where(_columns.activity_id == bindparam("activity"))


@cache
def _upsert_pending(dialect: str) -> Any:
    statement = insert_for(dialect, activity_photos)
    values = {name: statement.excluded[name] for name in ("athlete_id", "state", "photo_count")}
    return statement.on_conflict_do_update(index_elements=["activity_id"], set_=values | {"asked_at": None})


def request(connection: Connection, effect: AskForPhotos, now: datetime) -> None:
    """Enqueue a fetch of the photos, unless this number of photos is already stored.

    Photos that are already pending keep their schedule. Absent photos are rechecked once whenever their
    activity is.
    """
    # Jobs are locked before the rows that they write (lifecycle.lock).
    lifecycle.lock(connection, [photos_key(effect.activity_id)])
    stored = get(connection, effect.activity_id)
    if effect.count < 1:
        gone = {"state": "absent", "photo_count": 0, "photos": None, "asked_at": None}
        connection.execute(_CHANGE, {"activity": effect.activity_id, **gone})
        return
    changed = stored is None or stored.photo_count != effect.count
    if stored is not None and not changed and stored.state == "present":
        return
    if changed:
        _set_pending(connection, effect)
    due = now
    if stored is not None and not changed and stored.state == "pending" and stored.asked_at is not None:
        due = next_photo_recheck(stored.asked_at, now) or now
    spec = photos_refresh(effect.athlete_id, effect.activity_id, effect.lane, due)
    lifecycle.enqueue(connection, [spec], now)


def _set_pending(connection: Connection, effect: AskForPhotos) -> None:
    """Wait for a different number of photos. The stored ones stay visible until the new ones are there."""
    row = {
        "activity_id": effect.activity_id,
        "athlete_id": effect.athlete_id,
        "state": "pending",
        "photo_count": effect.count,
    }
    connection.execute(_upsert_pending(connection.dialect.name), row)


def store(connection: Connection, photos: StorePhotos, now: datetime) -> None:
    """Write the received photos. Without a row the activity was deleted, and nothing is written."""
    values: dict[str, Any] = {
        "state": photos.state,
        "asked_at": func.coalesce(_columns.asked_at, literal(now, Instant)),
    }
    if photos.photos is not None:
        values |= {"photos": photos.photos, "fetched_at": now}
    connection.execute(_CHANGE.values(**values), {"activity": photos.activity_id})


def remove(connection: Connection, activity_id: int) -> None:
    """Delete the photos of a deleted activity."""
    connection.execute(delete(activity_photos).where(_columns.activity_id == activity_id))


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    """Return the whole row."""
    return connection.execute(_ROW, {"activity": activity_id}).first()


def load(connection: Connection, activity_id: int) -> StoredPhotos | None:
    """Return the state of the photos; None if none were ever requested."""
    row = get(connection, activity_id)
    return None if row is None else StoredPhotos(row.state, row.asked_at, row.photos is not None)
