"""Token refreshes through the whole stack: real rows, and the sandbox over HTTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from feedzone.app import App, build
from feedzone.domain.athlete import AthleteProfile, TokenGrant
from feedzone.settings import Settings
from feedzone.store import athletes
from feedzone.store.engine.database import Database


def settings(strava_url: str, home: Any, **more: Any) -> Settings:
    values: dict[str, Any] = {
        "_env_file": None,
        "strava_client_id": "12345",
        "strava_client_secret": "sandbox-secret",
        "strava_api_base_url": f"{strava_url}/api/v3",
        "strava_oauth_base_url": f"{strava_url}/oauth",
        "feedzone_home": home,
        **more,
    }
    return Settings(**values)


@pytest.fixture
async def two_apps(sandbox, database: Database, tmp_path):
    """Two apps on one database, as two processes have them, and an athlete whose token is about to expire."""
    apps = [build(settings(sandbox.url, tmp_path), database=database) for _ in range(2)]
    athlete = next(iter(sandbox.world.athletes))
    grant = sandbox.world.connect(athlete, ["read", "activity:read", "activity:read_all"])
    sandbox.world.grants.expire_access(athlete)
    now = apps[0].clock.now()
    pair = TokenGrant(grant.access_token, grant.refresh_token, now - timedelta(seconds=1))

    def body(connection):
        athletes.connect(connection, AthleteProfile(athlete), "read,activity:read", "active", None, now)
        apps[0].tokens.save_exchanged(connection, athlete, pair, now)

    await database.write(body)
    yield apps, athlete
    for app in apps:
        await app.transport.close()


async def test_twenty_tasks_in_two_processes_with_one_expired_token_cause_one_refresh(two_apps, sandbox):
    apps, athlete = two_apps

    async def ask(app: App) -> int:
        return (await app.api.athlete(athlete)).id

    answers = await asyncio.gather(*(ask(apps[n % 2]) for n in range(20)))
    assert answers == [athlete] * 20
    assert sandbox.world.journal.by_endpoint["token"] == 1
    assert not sandbox.world.grants.stale_token_uses


async def test_the_next_refresh_uses_the_rotated_refresh_token(two_apps, sandbox):
    (app, _), athlete = two_apps
    before = (await app.tokens.load(athlete)).refresh_token
    await app.api.athlete(athlete)
    after = await app.tokens.load(athlete)
    assert after.refresh_token != before
    assert after.refresh_token == sandbox.world.grants.live[athlete].refresh_token
    assert after.generation == 2
