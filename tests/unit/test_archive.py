"""The archive of an athlete's data opens anywhere, whatever its size."""

from __future__ import annotations

import io
import os
import zipfile
from datetime import UTC, datetime

from feedzone.queries.export import CHUNK_BYTES, zipped

NOW = datetime(2026, 11, 3, 12, 30, tzinfo=UTC)
NOISE = os.urandom(CHUNK_BYTES + 1)


async def pieces():
    yield "about.txt", b"first "
    yield "about.txt", b"second"
    yield "streams/7.parquet", NOISE
    yield "streams/8.parquet", NOISE
    yield "changes.jsonl", b""


async def test_an_archive_holds_every_file_readable_for_its_owner_and_is_sent_in_parts():
    parts = [part async for part in zipped(pieces(), NOW)]
    assert len(parts) > 2
    archive = zipfile.ZipFile(io.BytesIO(b"".join(parts)))
    assert archive.testzip() is None
    entries = {entry.filename: entry for entry in archive.infolist()}
    assert list(entries) == ["about.txt", "streams/7.parquet", "streams/8.parquet", "changes.jsonl"]
    assert archive.read("about.txt") == b"first second"
    assert archive.read("streams/8.parquet") == NOISE
    assert {entry.external_attr >> 16 for entry in entries.values()} == {0o644}
    assert {entry.date_time[:5] for entry in entries.values()} == {(2026, 11, 3, 12, 30)}
