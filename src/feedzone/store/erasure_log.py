"""The erasure log: a file beside the keys that lists all deletions, in case a backup is restored.

The erasure log holds ids, times and receipts, and no words of anybody. Each line names its database. Lines
are appended and forced to disk; several processes of a machine may share the file. Only when it grows too
large, the older half of the deleted activities goes, but no departure of an athlete.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger("feedzone.store")

FILE, LOCK = "erasures.log", "erasures.lock"

MOST_BYTES = 64 * 1024 * 1024
"""The size at which the file is shortened: some 400,000 deleted activities."""


class Erasure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deleted activity, or a departed athlete (`activity` is None), with the receipt's facts."""

    database: str
    id: str
    """The id of the change or the receipt."""
    at: datetime
    athlete: int
    activity: int | None = None
    reason: str = ""
    cause: str = ""
    confirmed_by: str = ""
    counts: str = "{}"


class Mark(msgspec.Struct, frozen=True, tag_field="kind", tag="mark"):
    """The generation of a database. A database with a smaller one was restored from a backup."""

    database: str
    generation: int
    at: datetime


class Memory(msgspec.Struct, frozen=True):
    """What the file remembers of one database."""

    generation: int
    erasures: Sequence[Erasure]


_erasure = msgspec.json.Decoder(Erasure)
_mark = msgspec.json.Decoder(Mark)
_MARKED = b'{"kind":"mark"'


class ErasureLog:
    """The file in FEEDZONE_HOME."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE
        self._lock = home / LOCK

    def read(self, database: str) -> Memory:
        """Return what the file remembers of this database. A line that a crash cut short is left out."""
        generation, erasures = 0, dict[str, Erasure]()
        for line in self._lines():
            entry = _decoded(line)
            if entry is None or entry.database != database:
                continue
            if isinstance(entry, Mark):
                generation = max(generation, entry.generation)
            else:
                erasures[entry.id] = entry
        return Memory(generation, sorted(erasures.values(), key=lambda erasure: erasure.id))

    def append(self, entries: Iterable[Erasure | Mark]) -> None:
        """Write the entries to disk before returning."""
        text = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        if not text:
            return
        with self._alone():
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    text = b"\n" + text  # a crash cut the last line short
                os.write(handle, text)
                os.fsync(handle)
            finally:
                os.close(handle)
            if size + len(text) > MOST_BYTES:
                self._shorten()

    def _shorten(self) -> None:
        lines = list(self._lines())
        activities = [line for line in lines if isinstance(e := _decoded(line), Erasure) and e.activity]
        old = set(activities[: len(activities) // 2])
        marks = [line for line in lines if line.startswith(_MARKED)]
        old.update(marks[: len(marks) // 2])
        draft = self.path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.writelines(line + b"\n" for line in lines if line not in old)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        log.warning("erasure_log_shortened", forgotten_activities=len(activities) // 2)

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                for line in file:
                    yield line.rstrip(b"\n")
        except FileNotFoundError:
            return

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock against other processes of this machine."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _wait_for_lock(handle)
            yield
        finally:
            os.close(handle)


def _wait_for_lock(handle: int) -> None:
    """Take the lock of an open file; closing the file ends it. Windows has another call for this."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)


def _decoded(line: bytes) -> Erasure | Mark | None:
    try:
        return _mark.decode(line) if line.startswith(_MARKED) else _erasure.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
