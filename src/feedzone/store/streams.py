"""Store streams: one compressed Parquet blob per activity (stream_codec.py), or why there is none."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from ..domain.effect import StoreStreams
from .engine.dialect import insert_for
from .schema.tables import activity_streams

_ROW = select(activity_streams).where(activity_streams.c.activity_id == bindparam("activity"))
_STATE = select(activity_streams.c.state, activity_streams.c.blob.is_not(None).label("has_blob")).where(
    activity_streams.c.activity_id == bindparam("activity")
)
_STALE = (
    update(activity_streams)
    .where(activity_streams.c.activity_id == bindparam("activity"), activity_streams.c.state == "present")
    .values(state="pending")
)


@cache
def _upsert(dialect: str) -> Any:
    statement = insert_for(dialect, activity_streams)
    names = ("athlete_id", "state", "channels", "samples", "blob", "fetched_at")
    return statement.on_conflict_do_update(
        index_elements=["activity_id"], set_={name: statement.excluded[name] for name in names}
    )


def store(connection: Connection, streams: StoreStreams, now: datetime) -> None:
    """Write the streams. A response without streams does not replace stored ones."""
    stored = connection.execute(_STATE, {"activity": streams.activity_id}).first()
    if stored is not None and stored.has_blob and streams.state == "pending":
        return
    row = {
        "activity_id": streams.activity_id,
        "athlete_id": streams.athlete_id,
        "state": streams.state,
        "channels": ",".join(streams.channels),
        "samples": streams.samples,
        "blob": streams.blob,
        "fetched_at": now,
    }
    connection.execute(_upsert(connection.dialect.name), row)


def mark_stale(connection: Connection, activity_id: int) -> None:
    """Mark the streams as pending: the detail is newer. They stay visible until new ones are fetched."""
    connection.execute(_STALE, {"activity": activity_id})


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    """Return the whole row."""
    return connection.execute(_ROW, {"activity": activity_id}).first()
