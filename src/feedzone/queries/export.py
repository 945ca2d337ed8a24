"""An athlete's data as files: the command line writes a folder of them, a page hands out a zip archive.

However much there is, little of it is in memory at a time.
"""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, TYPE_CHECKING

import msgspec

from ..store.engine.database import Database
from ..store.reads import export
from . import activities

if TYPE_CHECKING:
    from .insights import Insights

DOCUMENTS, CHANGES = 50, 1000
"""How many are read at once."""

SENT_AT_ONCE = 256 * 1024

ABOUT = """\
athlete.json      what is known of you and of your connection; never a token
<id>.json         an activity, as received from Strava
<id>.parquet      its streams, a column a channel: DuckDB, pandas and polars read it
photos.jsonl      lists of photos, where they were fetched: a line an activity
gear.json         bikes and shoes
changes.jsonl     what changed in your activities, from what to what, when, and why: a line a change

Distances are in metres, times in seconds. Instants are UTC.
"""

Piece = tuple[str, bytes]
"""The name of a file and some of its content; the pieces of one file follow each other."""


async def pieces(insights: Insights, database: Database, athlete_id: int) -> AsyncIterator[Piece]:
    """All that is kept of an athlete. Raises NotFound."""
    athlete = await insights.athlete(athlete_id)
    yield "about.txt", ABOUT.encode()
    yield "athlete.json", msgspec.json.encode(athlete)
    gear = await database.read(lambda c: activities.gear(c, athlete_id))
    yield "gear.json", msgspec.json.encode(gear.items)
    async for piece in _activities(database, athlete_id):
        yield piece
    async for lines in _photos(database, athlete_id):
        yield "photos.jsonl", lines
    yield "changes.jsonl", b""  # there, even if nothing has changed
    async for lines in _changes(database, athlete_id):
        yield "changes.jsonl", lines


async def _activities(database: Database, athlete_id: int) -> AsyncIterator[Piece]:
    last = 0
    while rows := await database.read(
        lambda c, last=last: export.documents(c, athlete_id, after_id=last, limit=DOCUMENTS)  # type: ignore[misc]
    ):
        for row in rows:
            yield f"activities/{row.id}.json", (row.detail or row.summary or "{}").encode()
            if row.blob is not None:
                yield f"streams/{row.id}.parquet", row.blob
        last = rows[-1].id


async def _photos(database: Database, athlete_id: int) -> AsyncIterator[bytes]:
    last = 0
    while rows := await database.read(
        lambda c, last=last: export.photos(c, athlete_id, after_id=last, limit=CHANGES)  # type: ignore[misc]
    ):
        lines = [
            {"activity_id": row.activity_id, "photos": msgspec.Raw((row.photos or "[]").encode())}
            for row in rows
        ]
        yield msgspec.json.Encoder().encode_lines(lines)
        last = rows[-1].activity_id


async def _changes(database: Database, athlete_id: int) -> AsyncIterator[bytes]:
    last: str | None = None
    while rows := await database.read(
        lambda c, last=last: export.changes(c, athlete_id, after_id=last, limit=CHANGES)  # type: ignore[misc]
    ):
        yield msgspec.json.Encoder().encode_lines([activities.change(row) for row in rows])
        last = rows[-1].id


class _Outbox:
    """Where the archive is written to: it cannot be gone back in, only emptied."""

    def __init__(self) -> None:
        self.held = bytearray()

    def write(self, data: bytes, /) -> int:
        self.held += data
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def empty(self) -> bytes:
        sent = bytes(self.held)
        self.held.clear()
        return sent


async def zipped(files: AsyncIterator[Piece], now: datetime) -> AsyncIterator[bytes]:
    """The pieces as a zip archive, while it is being made. Parquet is compressed already."""
    outbox = _Outbox()
    archive = zipfile.ZipFile(outbox, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
    writing = _Writing(archive, now)
    async for name, content in files:
        await asyncio.to_thread(writing.add, name, content)
        if len(outbox.held) >= SENT_AT_ONCE:
            yield outbox.empty()
    await asyncio.to_thread(writing.close)
    yield outbox.empty()


class _Writing:
    """One archive, and the file in it that is open."""

    def __init__(self, archive: zipfile.ZipFile, now: datetime) -> None:
        self._archive = archive
        self._now = now
        self._name = ""
        self._file: IO[bytes] | None = None

    def add(self, name: str, content: bytes) -> None:
        if name != self._name or self._file is None:
            self._end()
            entry = zipfile.ZipInfo(name, self._now.timetuple()[:6])
            packed = name.endswith(".parquet")
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            # How large it will be, nobody knows yet.
            self._file, self._name = self._archive.open(entry, "w", force_zip64=True), name
        self._file.write(content)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self._end()
        self._archive.close()
