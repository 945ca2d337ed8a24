"""Deliveries that were answered 503: kept in memory and in a file, until the database takes them.

Strava repeats a refused delivery only twice, within minutes. The file survives a crash. It has its full size
from the start, so that a full disk does not stop it, and holds only parsed events. When an event does not
fit, or a process died, the comparison of its athlete with Strava is brought forward instead (`Losses`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from ..domain.event import Refusals, Signature, StravaEvent, parse_event
from ..errors import FeedzoneError
from .deliveries import Delivery

log = structlog.get_logger("feedzone.spool")

FOLDER = "refused"

FILE_BYTES = 4 * 1024 * 1024
"""The size of the file. An event has some 300 bytes."""

MOST_EVENTS = 10_000

MOST_ATHLETES = 10_000
"""Athletes whose events did not fit; with more, those of all athletes are compared."""

ENDED = b"\n"


class _Line(msgspec.Struct):
    """One line of the file."""

    event: str
    signature: Signature
    at: float


@dataclass
class Losses:
    """Whose refused events did not fit or may be missing; `everybody`: nobody knows whose."""

    athletes: set[int] = field(default_factory=set)
    everybody: bool = False

    def add(self, athlete_id: int) -> None:
        self.athletes.add(athlete_id)
        if len(self.athletes) > MOST_ATHLETES:
            self.everybody = True
            self.athletes.clear()

    def __bool__(self) -> bool:
        return self.everybody or bool(self.athletes)


class Spool:
    """The refused deliveries of this process. Without a `home` they are kept in memory only."""

    def __init__(self, home: Path | None = None) -> None:
        self._folder = None if home is None else home / FOLDER
        self._kept: dict[str, tuple[Delivery, float]] = {}
        self._unwritten: list[bytes] = []
        self._file: SpoolFile | None = None
        self._writing = threading.Lock()
        self._is_outdated = False
        """Whether the file has events that are not kept any more."""
        self.losses = Losses()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def is_on_disk(self) -> bool:
        return self._file is not None

    @property
    def has_work(self) -> bool:
        """Whether something must be stored, erased, or compared."""
        return bool(self._kept) or bool(self.losses) or self._is_outdated

    def open(self) -> None:
        """Create this process's file, and take over what processes that ended have left."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = SpoolFile.create(self._folder / f"{secrets.token_hex(8)}.spool")
            for path in sorted(self._others()):
                self._take_over(path)
        except OSError as problem:
            log.warning("spool_unavailable", folder=str(self._folder), error=str(problem))
        self.write()

    def _take_over(self, path: Path) -> None:
        with SpoolFile.of_ended_process(path) as left:
            if left is None:
                return
            lines = list(left.lines())
            for line in lines:
                with contextlib.suppress(FeedzoneError):
                    event = parse_event(line.event.encode())
                    self.keep(Delivery(event, line.signature), line.at)
            if lines:
                # The last ones before the end may be missing in the file.
                self.losses.everybody = True
                self.write()
            path.unlink(missing_ok=True)

    def keep(self, delivery: Delivery, at: float) -> None:
        """Keep a refused delivery; `write` puts it into the file. Copies of one event are kept once."""
        key = delivery.event.dedup_key
        if key in self._kept:
            return
        line = _line(delivery, at)
        fits = self._file is None or self._file.has_room(sum(map(len, self._unwritten)) + len(line))
        if len(self._kept) >= MOST_EVENTS or not fits:
            self.losses.add(delivery.event.owner_id)
            return
        self._kept[key] = delivery, at
        self._unwritten.append(line)

    def write(self) -> None:
        """Write what was kept since the last call, durably. Slow: call it in a thread."""
        with self._writing:
            lines, self._unwritten = self._unwritten, []
            erase, self._is_outdated = self._is_outdated, False
            if self._file is None:
                return
            try:
                if erase:
                    self._file.erase()
                    lines = [_line(delivery, at) for delivery, at in list(self._kept.values())]
                if lines:
                    self._file.append(b"".join(lines))
            except OSError as problem:
                log.warning("spool_not_written", error=str(problem))

    def oldest(self, most: int) -> list[Delivery]:
        """Return up to `most` kept deliveries, the oldest first."""
        return [delivery for delivery, _ in list(self._kept.values())[:most]]

    def forget(self, events: Iterable[StravaEvent]) -> None:
        """Forget events that are stored now. Without any other, the next `write` erases the file."""
        for event in events:
            self._kept.pop(event.dedup_key, None)
        if not self._kept:
            self._is_outdated = True

    def forget_athlete(self, athlete_id: int) -> None:
        """Forget all events of an athlete who leaves, also in the files that ended processes have left."""
        others = {key: kept for key, kept in self._kept.items() if kept[0].event.owner_id != athlete_id}
        if len(others) < len(self._kept):
            self._kept, self._is_outdated = others, True
            self.write()
        for path in self._others():
            with SpoolFile.of_ended_process(path) as left:
                if left is not None:
                    left.remove_lines(athlete_id)

    def refusals(self) -> Refusals | None:
        """Return what is kept here, and in the files of other processes of this machine; None: nothing."""
        owners = [(delivery.event.owner_id, at) for delivery, at in list(self._kept.values())]
        for path in self._others():
            with contextlib.suppress(OSError):
                owners += [(owner, line.at) for owner, line in _owners(path)]
        if not owners:
            return None
        since = datetime.fromtimestamp(min(at for _, at in owners), UTC)
        return Refusals(since, len(owners), len({owner for owner, _ in owners}))

    def _others(self) -> list[Path]:
        if self._folder is None:
            return []
        own = self._file and self._file.path
        return [path for path in self._folder.glob("*.spool") if path != own]

    def close(self) -> None:
        """Write what is kept; remove the file if nothing is."""
        self.write()
        if self._file is not None:
            self._file.close(remove=not self._kept)
            self._file = None


class SpoolFile:
    """A file of fixed size: lines, then zeros. A lock says that its process lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._used = 0

    @classmethod
    def create(cls, path: Path) -> SpoolFile:
        created = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        _lock(created._descriptor)
        # Real zeros instead of a hole: later writes need no more room on the disk.
        created._write(bytes(FILE_BYTES), 0)
        return created

    def _write(self, data: bytes, position: int) -> None:
        os.lseek(self._descriptor, position, os.SEEK_SET)
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)

    @classmethod
    @contextlib.contextmanager
    def of_ended_process(cls, path: Path) -> Iterator[SpoolFile | None]:
        """Yield a file whose process has ended; None if it lives."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            yield None
            return
        try:
            yield cls(path, descriptor) if _lock(descriptor) else None
        finally:
            os.close(descriptor)

    def lines(self) -> Iterator[_Line]:
        """Return the lines up to the first that is incomplete."""
        yield from _lines(self.path)

    def remove_lines(self, athlete_id: int) -> None:
        """Overwrite the file without the events of this athlete."""
        owned = list(_owners(self.path))
        lines = [line for owner, line in owned if owner != athlete_id]
        if len(lines) == len(owned):
            return
        self._used = FILE_BYTES
        self.erase()
        self.append(b"".join(msgspec.json.encode(line) + ENDED for line in lines))

    def has_room(self, size: int) -> bool:
        return self._used + size <= FILE_BYTES

    def append(self, data: bytes) -> None:
        self._write(data, self._used)
        self._used += len(data)

    def erase(self) -> None:
        """Overwrite all lines with zeros."""
        if self._used:
            self._write(bytes(self._used), 0)
            self._used = 0

    def close(self, *, remove: bool) -> None:
        os.close(self._descriptor)
        if remove:
            self.path.unlink(missing_ok=True)


def _line(delivery: Delivery, at: float) -> bytes:
    return msgspec.json.encode(_Line(delivery.event.raw, delivery.signature, at)) + ENDED


def _lines(path: Path) -> Iterator[_Line]:
    with path.open("rb") as file:
        for text in file:
            try:
                yield msgspec.json.decode(text, type=_Line)
            except (msgspec.DecodeError, msgspec.ValidationError):
                return


def _owners(path: Path) -> Iterator[tuple[int, _Line]]:
    for line in _lines(path):
        with contextlib.suppress(FeedzoneError):
            yield parse_event(line.event.encode()).owner_id, line


def _lock(descriptor: int) -> bool:
    """Lock the file for this process; return False if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows: a start takes over what is there
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
