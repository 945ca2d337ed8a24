"""Store streams: one compressed Parquet blob per activity (stream_codec.py), or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    LargeBinary,
    Row,
    String,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from ..domain.activity import EVIDENCE_COLUMNS, should_have_streams
from ..domain.effect import StoreStreams
from ..domain.freshness import STREAM_RETRIES, asks_again
from . import stream_codec
from .engine.dialect import among, insert_for
from .schema.tables import activity_streams, jobs, strava_activities
from .stream_codec import MalformedStreams

TRACK = "latlng"
"""The channel that says where the athlete was."""

_columns, _activity = activity_streams.c, strava_activities.c
_ROW = select(activity_streams).where(_columns.activity_id == bindparam("activity"))
_CHANGE = update(activity_streams).where(_columns.activity_id == bindparam("activity"))
_STORED = (
    select(
        _activity.id,
        _activity.fingerprint,
        _activity.no_track,
        _columns.activity_id,
        _columns.streamless_since,
        _columns.fetched_at,
        func.length(_columns.blob).label("size"),
    )
    .outerjoin(activity_streams, _columns.activity_id == _activity.id)
    .where(among(_activity.id, "ids"))
)
_WITHOUT_ACTIVITY = select(
    _columns.activity_id.label("id"),
    null().label("fingerprint"),
    null().label("no_track"),
    _columns.activity_id,
    _columns.streamless_since,
    _columns.fetched_at,
    func.length(_columns.blob).label("size"),
).where(among(_columns.activity_id, "ids"))
_IS_SAME = select(_columns.blob == bindparam("blob", type_=LargeBinary)).where(
    _columns.activity_id == bindparam("activity")
)
_STALE = (
    update(activity_streams)
    .where(_columns.activity_id == bindparam("activity"), _columns.state == "present")
    .values(state="pending")
)
_WITH_TRACK = select(_columns.blob, _columns.channels).where(
    _columns.activity_id == bindparam("activity"),
    _columns.blob.is_not(None),
    _columns.channels.contains(TRACK),
)
_IN_DOUBT = (
    select(
        _columns.activity_id,
        _columns.athlete_id,
        _columns.asked_at,
        case(
            (_columns.streamless_since.is_(None), _columns.fetched_at), else_=_columns.streamless_since
        ).label("since"),
        *(_activity[name] for name in (*EVIDENCE_COLUMNS, "manual")),
    )
    .join(strava_activities, _activity.id == _columns.activity_id)
    .where(
        among(_columns.activity_id, "ids"),
        _activity.sync_status == "synced",
        or_(_columns.state != "present", _columns.fingerprint != _activity.fingerprint),
        _columns.asked_at < bindparam("before"),
    )
    .order_by(_columns.activity_id)
)

_OLDER = (
    select(_columns.activity_id)
    .join(strava_activities, _activity.id == _columns.activity_id)
    .where(
        _columns.athlete_id == bindparam("athlete"),
        _columns.asked_at < bindparam("before"),
        _activity.sync_status == "synced",
        _activity.manual.is_not(True),
        or_(_columns.state == "present", *(_activity[name].is_not(None) for name in EVIDENCE_COLUMNS)),
        ~exists().where(
            jobs.c.kind == "refresh_activity",
            jobs.c.key == literal("activity:") + cast(_columns.activity_id, String),
            jobs.c.state.in_(("queued", "running", "dead")),
        ),
    )
    .order_by(_activity.start_date.desc(), _columns.activity_id)
    .limit(bindparam("most"))
)


@cache
def _upsert(dialect: str) -> Any:
    statement = insert_for(dialect, activity_streams)
    return statement.on_conflict_do_update(
        index_elements=["activity_id"],
        set_={c.name: statement.excluded[c.name] for c in _columns if c is not _columns.activity_id},
    )


def store(connection: Connection, found: StoreStreams, now: datetime) -> None:
    """Write the streams of one activity."""
    store_all(connection, [found], now)


def store_all(connection: Connection, found: Sequence[StoreStreams], now: datetime) -> None:
    """Write streams. A response without streams does not replace stored ones, whatever it means."""
    if not found:
        return
    ids = sorted({streams.activity_id for streams in found})
    stored: dict[int, Any] = {row.id: row for row in connection.execute(_STORED, {"ids": ids})}
    if lone := [number for number in ids if number not in stored]:
        stored |= {row.id: row for row in connection.execute(_WITHOUT_ACTIVITY, {"ids": lone})}
    new = []
    for streams in found:
        row = stored.get(streams.activity_id)
        if streams.state != "present" and row is not None and row.size is not None:
            changes = {
                "state": "pending" if streams.state == "pending" else "present",
                "asked_at": now,
                "streamless_since": _streamless_since(streams, row, now),
            }
            connection.execute(_CHANGE, {"activity": streams.activity_id, **changes})
        else:
            new.append(_row(connection, streams, row, now))
    if new:
        connection.execute(_upsert(connection.dialect.name), new if len(new) > 1 else new[0])


def _streamless_since(streams: StoreStreams, stored: Any, now: datetime) -> datetime | None:
    if streams.state == "present":
        return None
    before: datetime | None = None if stored is None else stored.streamless_since
    return streams.streamless_since or before or now


def _row(connection: Connection, streams: StoreStreams, stored: Any, now: datetime) -> dict[str, Any]:
    blob: bytes | None = streams.blob
    channels = streams.channels
    if stored is not None and stored.no_track and TRACK in channels and blob is not None:
        blob, channels = _without_track(blob, channels)
    # The same samples keep their time, so that no open page draws them again.
    is_same = (
        stored is not None
        and blob is not None
        and stored.size == len(blob)
        and connection.execute(_IS_SAME, {"activity": streams.activity_id, "blob": blob}).scalar()
    )
    return {
        "activity_id": streams.activity_id,
        "athlete_id": streams.athlete_id,
        "state": streams.state,
        "channels": ",".join(channels),
        "samples": streams.samples,
        "blob": blob,
        "fetched_at": stored.fetched_at if stored is not None and is_same else now,
        "fingerprint": stored.fingerprint if stored is not None else None,
        "asked_at": now,
        "streamless_since": _streamless_since(streams, stored, now),
    }


def mark_stale(connection: Connection, activity_id: int) -> None:
    """Mark the streams as pending: the detail is newer. They stay visible until new ones are fetched."""
    connection.execute(_STALE, {"activity": activity_id})


def forget_track(connection: Connection, activity_id: int) -> None:
    """Remove the positions from the stored streams; the other channels stay."""
    row = connection.execute(_WITH_TRACK, {"activity": activity_id}).first()
    if row is None or TRACK not in row.channels.split(","):
        return
    blob, channels = _without_track(bytes(row.blob), tuple(row.channels.split(",")))
    connection.execute(_CHANGE, {"activity": activity_id, "blob": blob, "channels": ",".join(channels)})


def _without_track(blob: bytes, channels: tuple[str, ...]) -> tuple[bytes | None, tuple[str, ...]]:
    try:
        return stream_codec.without(blob, TRACK), tuple(name for name in channels if name != TRACK)
    except MalformedStreams:
        return None, ()  # better no streams than a track that the athlete hides


def in_doubt(connection: Connection, ids: Iterable[int], now: datetime) -> list[Row[Any]]:
    """Return those of the activities that should have streams, have none or old ones, and wait for none."""
    asked = {"ids": sorted(ids), "before": now - STREAM_RETRIES[-1]}
    return [
        row
        for row in connection.execute(_IN_DOUBT, asked).all()
        if should_have_streams(dict(row._mapping)) and asks_again(row.since, row.asked_at, now)
    ]


def older_than(connection: Connection, athlete_id: int, instant: datetime, most: int) -> list[int]:
    """Return activities of the athlete whose streams were last asked for before that, newest first.

    Those with a job or a dead letter are left out, and those that never had streams and should have none.
    """
    asked = {"athlete": athlete_id, "before": instant, "most": most}
    return list(connection.execute(_OLDER, asked).scalars())


def get(connection: Connection, activity_id: int) -> Row[Any] | None:
    """Return the whole row."""
    return connection.execute(_ROW, {"activity": activity_id}).first()
