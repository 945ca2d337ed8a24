"""Streams: one compressed Parquet blob an activity (stream_blob.py), or why there is none."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from ..domain.effect import StoreStreams
from .dialect import insert_into
from .schema import activity_streams


def store(connection: Connection, streams: StoreStreams, now: datetime) -> None:
    """Write the streams; what is already there is not lost to an answer that has none."""
    held = get(connection, streams.activity_id)
    if held is not None and held.blob is not None and streams.state == "pending":
        return
    values = {
        "athlete_id": streams.athlete_id,
        "state": streams.state,
        "channels": ",".join(streams.channels),
        "samples": streams.samples,
        "blob": streams.blob,
        "fetched_at": now,
    }
    connection.execute(
        insert_into(connection, activity_streams)
        .values(activity_id=streams.activity_id, **values)
        .on_conflict_do_update(index_elements=["activity_id"], set_=values)
    )


def mark_stale(connection: Connection, activity_id: int) -> None:
    """A new detail is stored, the streams that belong to it are not: these are shown, and asked for again."""
    present = (activity_streams.c.activity_id == activity_id) & (activity_streams.c.state == "present")
    connection.execute(update(activity_streams).where(present).values(state="pending"))


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    return connection.execute(
        select(activity_streams).where(activity_streams.c.activity_id == activity_id)
    ).first()
