"""Fixtures of the store tests: stores with two connected athletes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from store_makers import OTHER, OWNER, Store

from feedzone.domain import event
from feedzone.store.engine.database import Database
from feedzone.store.engine.postgres import PostgresDatabase


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make jobs of update events due at once: these tests check their result, not their time."""
    monkeypatch.setattr(event, "DEBOUNCE", timedelta())


@pytest.fixture
async def second_postgres(
    migrated_postgres: str, postgres_database: PostgresDatabase
) -> AsyncIterator[PostgresDatabase]:
    """The same database, opened like in another process."""
    opened = PostgresDatabase(migrated_postgres)
    yield opened
    await opened.close()


@pytest.fixture
async def store(database: Database, clock) -> Store:
    """A store on each kind of database, with two connected athletes."""
    made = Store.over(database, clock)
    await made.connect(OWNER)
    await made.connect(OTHER)
    return made


@pytest.fixture
async def postgres_store(postgres_database: PostgresDatabase, clock) -> Store:
    """A store on PostgreSQL, for behaviour that SQLite does not have."""
    made = Store.over(postgres_database, clock)
    await made.connect(OWNER)
    await made.connect(OTHER)
    return made
