"""Fixtures of the store tests: migrated once, then emptied (PostgreSQL) or copied (SQLite) for each test."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from store_makers import OTHER, OWNER, Store

from feedzone.domain import event
from feedzone.store import upgrade
from feedzone.store.database import Database
from feedzone.store.postgres import PostgresDatabase
from feedzone.store.schema import metadata
from feedzone.store.sqlite import SqliteDatabase

EMPTY = text(
    f"DO $$ BEGIN {' '.join(f'DELETE FROM {table.name};' for table in metadata.sorted_tables)} END $$"
)
"""Of all tables in one statement: each would be a way to the server and back."""


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of updates are due at once: here it is told what becomes of them, not when."""
    monkeypatch.setattr(event, "UPDATES_SETTLE", timedelta())


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: object) -> str:
    name = f"store{uuid.uuid4().hex}"
    postgres_server.psql(f"CREATE DATABASE {name};")  # type: ignore[attr-defined]
    # Nothing here survives the session anyway: nobody need wait for the disk.
    postgres_server.psql("ALTER SYSTEM SET fsync = off;")  # type: ignore[attr-defined]
    postgres_server.psql("SELECT pg_reload_conf();")  # type: ignore[attr-defined]
    url = str(postgres_server.get_uri(name))  # type: ignore[attr-defined]
    upgrade.prepare(PostgresDatabase(url))
    return url


@pytest.fixture
async def postgres_database(migrated_postgres: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(migrated_postgres)
    await opened.write(lambda c: c.execute(EMPTY))
    yield opened
    await opened.close()


@pytest.fixture
async def second_postgres(
    migrated_postgres: str, postgres_database: PostgresDatabase
) -> AsyncIterator[PostgresDatabase]:
    """The same database, as another process has it open."""
    opened = PostgresDatabase(migrated_postgres)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "migrated.db"
    opened = SqliteDatabase(f"sqlite:///{path}")
    upgrade.prepare(opened)
    asyncio.run(opened.close())
    return path


@pytest.fixture
async def sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    copy = shutil.copy(migrated_sqlite, tmp_path / "feedzone.db")
    opened = SqliteDatabase(f"sqlite:///{copy}")
    yield opened
    await opened.close()


@pytest.fixture(params=("sqlite_database", "postgres_database"), ids=("sqlite", "postgresql"))
def database(request: pytest.FixtureRequest) -> Database:
    """A database with the schema and nothing in it, of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def store(database: Database, clock) -> Store:
    """Each kind of database, with two connected athletes."""
    made = Store.over(database, clock)
    await made.connect(OWNER)
    await made.connect(OTHER)
    return made


@pytest.fixture
async def postgres_store(postgres_database: PostgresDatabase, clock) -> Store:
    """PostgreSQL alone, for what only it can do."""
    made = Store.over(postgres_database, clock)
    await made.connect(OWNER)
    await made.connect(OTHER)
    return made
