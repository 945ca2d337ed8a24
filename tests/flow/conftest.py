"""The fixtures of the flow tests (see also ../flow_fixtures.py)."""

from collections.abc import AsyncIterator

import pytest
from web_world import PASSWORD, World, web_world

from clocks import PatientClock
from feedzone.store.engine.database import Database
from flow_fixtures import eventually_fixture, install, sandbox

__all__ = ["eventually_fixture", "install", "sandbox"]


@pytest.fixture
def clock() -> PatientClock:
    return PatientClock()


@pytest.fixture
async def world(sqlite_database: Database) -> AsyncIterator[World]:
    """An installation that one person runs on their own machine."""
    async with web_world(sqlite_database) as world:
        yield world


@pytest.fixture
async def public(sqlite_database: Database) -> AsyncIterator[World]:
    """An installation that other people can reach."""
    async with web_world(
        sqlite_database, app_url="https://feedzone.test", is_local=False, admin_password=PASSWORD
    ) as world:
        yield world
