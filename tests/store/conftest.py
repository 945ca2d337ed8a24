"""Fixtures of the store tests: stores with two athletes in them."""

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
    """Jobs of updates are due at once: here it is told what becomes of them, not when."""
    monkeypatch.setattr(event, "DEBOUNCE", timedelta())


@pytest.fixture
async def second_postgres(
    migrated_postgres: str, postgres_database: PostgresDatabase
) -> AsyncIterator[PostgresDatabase]:
    """The same database, as another process has it open."""
    opened = PostgresDatabase(migrated_postgres)
    yield opened
    await opened.close()


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
