"""Access to the page of an activity, and the refresh button."""

from __future__ import annotations

import httpx
import pytest
from activity_world import RUN, detail, furnish, write
from browsing import connect, csrf, sign_in, words
from web_world import PASSWORD, World, web_world

from feedzone.domain.athlete import AthleteProfile
from feedzone.store import athletes
from feedzone.store.engine.database import Database


@pytest.fixture
async def world(world: World) -> World:
    await world.connect()
    return world


@pytest.fixture
async def public(public: World) -> World:
    await public.connect()
    return public


async def ask(world: World, browser: httpx.AsyncClient, number: int = RUN) -> httpx.Response:
    await browser.get(f"/activities/{number}")
    return await browser.post(f"/activities/{number}/refresh", headers=csrf(browser))


async def test_refresh_responds_at_once_with_the_result(world: World) -> None:
    await furnish(world)
    async with world.browser() as browser:
        answer = await ask(world, browser)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/activities/{RUN}")
        text = words((await browser.get(f"/activities/{RUN}")).text)
    assert "Fetching from Strava. The page updates automatically." in text
    assert "Queued to fetch activity (manual)" in text
    (job,) = (await world.parts.queries.jobs.page("queued")).items[-1:]
    assert (job.key, job.lane) == (f"activity:{RUN}", "interactive")


async def test_nothing_is_fetched_for_an_athlete_who_must_reconnect(world: World) -> None:
    await furnish(world)
    await world.database.write(lambda c: athletes.mark(c, 42, "needs_reauth", "revoked", world.clock.now()))
    before = (await world.parts.queries.jobs.page("queued")).items
    async with world.browser() as browser:
        await ask(world, browser)
        text = words((await browser.get(f"/activities/{RUN}")).text)
    assert "Ada Lovelace must reconnect first" in text
    assert (await world.parts.queries.jobs.page("queued")).items == before


async def test_without_consent_an_operator_sees_the_sync_status_but_no_contents(public: World) -> None:
    """Strava's rules: an athlete's data is for that athlete."""
    await furnish(public)
    await public.deliver(RUN, "update", title="Secret again")
    public.clock.pass_by(seconds=1)
    await write(public, detail("reconciliation", description="Secret words", device_name="Secret watch"))
    async with public.browser() as browser:
        await sign_in(browser)
        answer = await browser.get(f"/activities/{RUN}")
        text = words(answer.text)
        assert "Secret" not in answer.text
        assert "canal" not in answer.text
        assert "10.00 km" not in text
        assert "sketch" not in answer.text
        assert "60 samples" not in text
        assert "has not shared activities with the operator" in text
        assert "Webhook: updated" in text
        assert "Description" in text
        assert (await browser.get(f"/activities/{RUN}/curves")).status_code == 404
        assert (await ask(public, browser)).status_code == 303
        await public.parts.athletes.let_operator_see(42, True)
        assert "Secret" in (await browser.get(f"/activities/{RUN}")).text
        assert (await browser.get(f"/activities/{RUN}/curves")).status_code == 200


async def test_an_athlete_sees_their_own_and_nobody_elses(public: World) -> None:
    await furnish(public)
    async with public.browser() as browser:
        await connect(public, browser)
        text = (await browser.get(f"/activities/{RUN}")).text
        assert "Secret title" in text
        assert "/events/" not in text
        assert (await browser.get(f"/activities/{RUN}/curves")).status_code == 200
        assert (await ask(public, browser)).status_code == 303
    public.desk.profile = AthleteProfile(43, None, "Grace", "Hopper")
    async with public.browser() as browser:
        await connect(public, browser)
        await browser.get("/me")
        for path in (f"/activities/{RUN}", f"/activities/{RUN}/curves", "/activities/8"):
            answer = await browser.get(path)
            assert answer.status_code == 404
            assert "Secret" not in answer.text
        answer = await browser.post(f"/activities/{RUN}/refresh", headers=csrf(browser))
        assert answer.status_code == 404


async def test_on_a_shared_machine_an_athlete_is_no_operator(sqlite_database: Database) -> None:
    async with web_world(sqlite_database, admin_password=PASSWORD) as world:
        await world.connect()
        await furnish(world)
        world.desk.profile = AthleteProfile(43, None, "Grace", "Hopper")
        async with world.browser() as browser:
            await connect(world, browser)
            assert (await browser.get(f"/activities/{RUN}")).status_code == 404


async def test_an_event_that_names_another_owner_opens_nothing(public: World) -> None:
    await furnish(public)
    public.desk.profile = AthleteProfile(43, None, "Grace", "Hopper")
    await public.connect()
    await public.deliver(RUN, "update", owner=43, title="Forged")
    async with public.browser() as browser:
        await connect(public, browser)
        assert (await browser.get(f"/activities/{RUN}")).status_code == 404


async def test_activities_of_a_disconnected_athlete_have_no_page(world: World) -> None:
    await furnish(world)
    async with world.browser() as browser:
        assert (await browser.get(f"/activities/{RUN}")).status_code == 200
        await world.parts.athletes.disconnect(42)
        assert (await browser.get(f"/activities/{RUN}")).status_code == 404
        assert (await browser.get(f"/activities/{RUN}/curves")).status_code == 404


async def test_the_policy_allows_tiles_only_from_the_configured_host(sqlite_database: Database) -> None:
    tiles = "https://tiles.example.org/{z}/{x}/{y}.png"
    async with web_world(sqlite_database, tiles=tiles, tiles_by="© Mappers") as world:
        await world.connect()
        await furnish(world)
        async with world.browser() as browser:
            answer = await browser.get(f"/activities/{RUN}")
        assert "img-src 'self' data: https://tiles.example.org;" in answer.headers["content-security-policy"]
        assert f'data-tiles="{tiles}"' in answer.text
        assert "© Mappers" in answer.text


async def test_without_a_tile_host_the_policy_allows_no_other_host(world: World) -> None:
    await furnish(world)
    async with world.browser() as browser:
        answer = await browser.get(f"/activities/{RUN}")
    assert "img-src 'self' data:;" in answer.headers["content-security-policy"]
    assert "data-tiles" not in answer.text
