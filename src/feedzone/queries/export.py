"""An athlete's data as files: the command line writes a folder, a page sends a zip archive.

Only a small part of the data is in memory at a time.
"""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO

import msgspec

from ..store.engine.database import Database
from ..store.reads import export
from .activities import change_from
from .athletes import AthleteQueries, gear_of

DOCUMENTS, CHANGES = 50, 1000
"""The number of rows per read."""

CHUNK_BYTES = 256 * 1024

_LISTS = "\n".join(f"{listed.file:17} {listed.about}: one line per activity" for listed in export.JSON_LISTS)

ABOUT = f"""\
athlete.json      your profile and the state of your connection, without tokens
activities.jsonl  your activities as stored, in columns: one line per activity
<id>.json         an activity, as received from Strava
summaries/        the same from Strava's lists, where <id>.json has the detail
<id>.parquet      its streams, one column per channel: DuckDB, pandas and polars read it
{_LISTS}
gear.json         bikes and shoes
events.jsonl      Strava's messages about you: one line per message
changes.jsonl     changes to your activities, with old and new value, time and cause: one line per change

Distances are in metres, times in seconds. Instants are UTC.
"""

Piece = tuple[str, bytes]
"""The name of a file and a part of its content; the parts of one file follow each other."""


class ExportQueries:
    def __init__(self, database: Database, athletes: AthleteQueries) -> None:
        self._database = database
        self._athletes = athletes

    async def pieces(self, athlete_id: int) -> AsyncIterator[Piece]:
        """Yield all stored data of an athlete, except tokens. Raises NotFound."""
        database = self._database
        athlete = await self._athletes.get(athlete_id)
        yield "about.txt", ABOUT.encode()
        yield "athlete.json", msgspec.json.encode(athlete)
        yield "gear.json", msgspec.json.encode(await database.read(lambda c: gear_of(c, athlete_id)))
        for file, contents in (("activities.jsonl", _stored), ("events.jsonl", _events)):
            yield file, b""  # the file exists even if it is empty
            async for part in contents(database, athlete_id):
                yield file, part
        async for piece in _activities(database, athlete_id):
            yield piece
        for stored in export.JSON_LISTS:
            async for lines in _list(database, stored, athlete_id):
                yield stored.file, lines
        yield "changes.jsonl", b""  # the file exists even if nothing has changed
        async for lines in _changes(database, athlete_id):
            yield "changes.jsonl", lines


async def _activities(database: Database, athlete_id: int) -> AsyncIterator[Piece]:
    last = 0
    while rows := await database.read(
        lambda c, last=last: export.documents(c, athlete_id, after_id=last, limit=DOCUMENTS)  # type: ignore[misc]
    ):
        for row in rows:
            yield f"activities/{row.id}.json", (row.detail or row.summary or "{}").encode()
            if row.detail and row.summary:
                yield f"summaries/{row.id}.json", row.summary.encode()
            if row.blob is not None:
                yield f"streams/{row.id}.parquet", row.blob
        last = rows[-1].id


async def _stored(database: Database, athlete_id: int) -> AsyncIterator[bytes]:
    last = 0
    while rows := await database.read(
        lambda c, last=last: export.stored_columns(c, athlete_id, after_id=last, limit=CHANGES)  # type: ignore[misc]
    ):
        yield msgspec.json.Encoder().encode_lines([dict(row._mapping) for row in rows])
        last = rows[-1].id


async def _events(database: Database, athlete_id: int) -> AsyncIterator[bytes]:
    last: str | None = None
    while rows := await database.read(
        lambda c, last=last: export.received_events(c, athlete_id, after_id=last, limit=CHANGES)  # type: ignore[misc]
    ):
        lines = [
            {"id": row.id, "received_at": row.created_at, "event": msgspec.Raw(row.event_data.encode())}
            for row in rows
        ]
        yield msgspec.json.Encoder().encode_lines(lines)
        last = rows[-1].id


async def _list(database: Database, stored: export.JsonList, athlete_id: int) -> AsyncIterator[bytes]:
    name, last = stored.column.name, 0
    while rows := await database.read(
        lambda c, last=last: export.lists(c, stored, athlete_id, after_id=last, limit=CHANGES)  # type: ignore[misc]
    ):
        lines = [
            {"activity_id": row.activity_id, name: msgspec.Raw((row.json or "[]").encode())} for row in rows
        ]
        yield msgspec.json.Encoder().encode_lines(lines)
        last = rows[-1].activity_id


async def _changes(database: Database, athlete_id: int) -> AsyncIterator[bytes]:
    last: str | None = None
    while rows := await database.read(
        lambda c, last=last: export.changes(c, athlete_id, after_id=last, limit=CHANGES)  # type: ignore[misc]
    ):
        yield msgspec.json.Encoder().encode_lines([change_from(row) for row in rows])
        last = rows[-1].id


class _Buffer:
    """The file that the archive is written to. It cannot seek; `empty` returns the bytes so far."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def empty(self) -> bytes:
        chunk = bytes(self.data)
        self.data.clear()
        return chunk


async def zipped(pieces: AsyncIterator[Piece], now: datetime) -> AsyncIterator[bytes]:
    """Yield a zip archive of the pieces while it is being made. Parquet is compressed already."""
    buffer = _Buffer()
    archive = zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
    writer = _ArchiveWriter(archive, now)
    async for name, content in pieces:
        await asyncio.to_thread(writer.add, name, content)
        if len(buffer.data) >= CHUNK_BYTES:
            yield buffer.empty()
    await asyncio.to_thread(writer.close)
    yield buffer.empty()


class _ArchiveWriter:
    """An archive, and the file in it that is open."""

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
            # The final size is not known yet.
            self._file, self._name = self._archive.open(entry, "w", force_zip64=True), name
        self._file.write(content)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self._end()
        self._archive.close()
