"""The page of an activity in a real Chromium, with a real server and sandbox."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from watching import assert_steady, overflows, settled, violations, watched

from feedzone.sandbox import running
from flow_fixtures import OPTIONS, Installation, eventually, installations
from processes import free_port
from stage import DESKTOP, PHONE, Stage

pytestmark = pytest.mark.timeout(240)
VIEWPORTS = pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
READOUT = ".curves .where"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hills(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """An installation with a connected athlete and webhooks."""
    async with running(OPTIONS) as strava, installations(tmp_path_factory.mktemp("hills")) as make:
        feedzone = make(strava.url)
        await feedzone.start()
        assert (await feedzone.run("subscription", "ensure")).returncode == 0
        await feedzone.connect(next(iter(strava.world.athletes)))
        yield Stage(feedzone, strava.world)


@pytest_asyncio.fixture(loop_scope="session")
async def ridden(hills: Stage) -> tuple[Installation, int]:
    """An installation with a ride, and the ride's id."""
    athlete = next(iter(hills.world.athletes))
    number = hills.world.record(athlete, sport="Ride", minutes=90, name="Over the hills").id

    async def stored() -> object:
        status, _ = await hills.feedzone.api(f"activities/{number}/streams")
        return status == 200

    await eventually(stored, 60)
    return hills.feedzone, number


async def drawn(page: Page, address: str) -> None:
    await page.goto(address)
    await settled(page)
    await expect(page.locator(".curve canvas").first).to_be_visible()
    await expect(page.locator("#map path.track").first).to_be_attached()


async def marker(page: Page) -> str | None:
    here = page.locator("#map path.here")
    return await here.get_attribute("d") if await here.count() else None


@VIEWPORTS
async def test_the_cursor_of_a_curve_shows_where_that_was(chromium, ridden, viewport):
    feedzone, number = ridden
    page, watch = await watched(await chromium.new_context(viewport=viewport), feedzone.url)
    await drawn(page, f"{feedzone.url}/activities/{number}")
    assert await marker(page) is None
    over = page.locator(".curve .u-over").first
    await over.hover(position={"x": 60, "y": 40})
    first = await marker(page)
    assert first
    await expect(page.locator(READOUT)).to_have_text(re.compile(r"^\d+:\d\d.* · \d+\.\d\d km$"))
    for output in await page.locator(".curve output").all():
        await expect(output).to_have_text(re.compile(r"^[\d.,:]+ \S+$"))
    await over.hover(position={"x": 200, "y": 40})
    assert await marker(page) not in (None, first)
    assert watch.foreign == []
    assert watch.complaints == []


async def test_the_keyboard_moves_the_cursor_and_screen_readers_get_the_values(chromium, ridden):
    feedzone, number = ridden
    page, watch = await watched(await chromium.new_context(viewport=DESKTOP), feedzone.url)
    await drawn(page, f"{feedzone.url}/activities/{number}")
    scrub = page.get_by_role("slider", name="Position along the activity")
    await scrub.focus()
    await page.keyboard.press("PageUp")
    first = await marker(page)
    assert first
    await expect(scrub).to_have_attribute("aria-valuetext", re.compile(r"km, Altitude .*Heart rate \d+ bpm"))
    await page.keyboard.press("End")
    assert await marker(page) != first
    assert watch.complaints == []


async def test_a_finger_along_a_curve_moves_the_cursor(chromium, ridden):
    feedzone, number = ridden
    context = await chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page, watch = await watched(context, feedzone.url)
    await drawn(page, f"{feedzone.url}/activities/{number}")
    over = page.locator(".curve .u-over").nth(1)
    await over.scroll_into_view_if_needed()
    before = await over.bounding_box()
    await over.tap(position={"x": 120, "y": 40})
    await page.wait_for_function("document.querySelector('.curve output').textContent !== ''")
    assert await over.bounding_box() == before
    assert await marker(page)
    await expect(page.locator("#map")).to_be_in_viewport()
    assert watch.complaints == []


async def test_curves_are_drawn_over_time_or_distance_and_in_the_readers_units(chromium, ridden):
    feedzone, number = ridden
    context = await chromium.new_context(viewport=DESKTOP)
    page, watch = await watched(context, feedzone.url)
    await drawn(page, f"{feedzone.url}/activities/{number}")
    over = page.locator(".curve .u-over").first
    await page.get_by_role("button", name="Time", exact=True).click()
    await expect(page.get_by_role("button", name="Time", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    box = await over.bounding_box()
    await over.hover(position={"x": box["width"] / 2, "y": 40})
    await expect(page.locator(READOUT)).to_have_text(re.compile(r"^4[45]:\d\d · "))
    await page.locator(".top summary").click()
    await page.get_by_role("button", name="Miles").click()
    await drawn(page, f"{feedzone.url}/activities/{number}")
    await over.hover(position={"x": 60, "y": 40})
    await expect(page.locator(READOUT)).to_have_text(re.compile(r" mi$"))
    assert watch.complaints == []


@VIEWPORTS
async def test_the_page_is_accessible_without_layout_shift_or_foreign_requests(chromium, ridden, viewport):
    feedzone, number = ridden
    for theme in ("light", "dark"):
        context = await chromium.new_context(viewport=viewport, color_scheme=theme)
        page, watch = await watched(context, feedzone.url)
        await drawn(page, f"{feedzone.url}/activities/{number}")
        assert await violations(page) == [], theme
        assert not await overflows(page)
        await assert_steady(page)
        assert watch.foreign == []
        assert watch.complaints == []
        await context.close()


async def test_without_scripts_there_are_track_ranges_and_history(chromium, ridden):
    feedzone, number = ridden
    context = await chromium.new_context(java_script_enabled=False, viewport=PHONE)
    page = await context.new_page()
    await page.goto(feedzone.url)
    await page.get_by_role("link", name="Over the hills").first.click()
    await expect(page).to_have_url(f"{feedzone.url}/activities/{number}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Over the hills")
    await expect(page.get_by_role("img", name="The track, north up")).to_be_visible()
    assert await page.locator(".curve figcaption").count() >= 4
    await expect(page.locator(".curve .plot").first).to_be_hidden()
    await expect(page.get_by_text(re.compile(r"avg \d+ · max \d+ bpm"))).to_be_visible()
    await expect(page.get_by_text("Streams stored")).to_be_visible()
    await expect(page.get_by_role("slider")).to_be_hidden()
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.get_by_text("Fetching from Strava")).to_be_visible()


@VIEWPORTS
async def test_refresh_updates_the_open_page_without_redrawing_the_curves(chromium, ridden, hills, viewport):
    feedzone, number = ridden
    page, watch = await watched(await chromium.new_context(viewport=viewport), feedzone.url)
    await drawn(page, f"{feedzone.url}/activities/{number}")
    await page.evaluate("document.querySelector('.curve canvas').dataset.mine = 'yes'")
    hills.world.edit_silently(number, description="Wind from everywhere.")
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.locator("#notices")).to_contain_text("Fetching from Strava")
    await expect(page.locator(".description")).to_have_text("Wind from everywhere.")
    changed = page.locator(".story > li").filter(has_text="Description:")
    await expect(changed).to_contain_text("manual request")
    assert await page.locator(".curve canvas").first.get_attribute("data-mine") == "yes"
    await expect(page.locator("#map path.track").first).to_be_attached()
    assert await violations(page) == []
    assert watch.complaints == []


async def test_a_manual_activity_and_its_deletion_appear_on_the_open_page(chromium, hills):
    feedzone = hills.feedzone
    athlete = next(iter(hills.world.athletes))
    number = hills.world.record(athlete, sport="Run", minutes=30, name="By hand", manual=True).id

    async def held() -> object:
        status, _ = await feedzone.api(f"activities/{number}")
        return status == 200

    await eventually(held, 60)
    page, watch = await watched(await chromium.new_context(viewport=DESKTOP), feedzone.url)
    await page.goto(f"{feedzone.url}/activities/{number}")
    await settled(page)
    await expect(page.get_by_text("Entered manually: no recorded data.")).to_be_visible()
    assert await violations(page) == []
    hills.world.delete(number)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Deleted activity")
    await expect(page.get_by_text("Deleted; only its id is kept")).to_be_visible()
    assert await violations(page) == []
    assert watch.complaints == []


async def test_tiles_are_loaded_only_from_the_configured_host(chromium, ridden):
    feedzone, number = ridden
    tiles = "http://tiles.invalid:8080"
    port = free_port()
    env = {"MAP_TILE_URL": tiles + "/{z}/{x}/{y}.png", "MAP_TILE_ATTRIBUTION": "© Mappers"}
    other = dataclasses.replace(feedzone, port=port, env=feedzone.env | env)
    await other.start("serve", "--port", str(port), "--no-worker")
    page, watch = await watched(await chromium.new_context(viewport=DESKTOP), other.url)
    await page.route(f"{tiles}/**", lambda route: route.fulfill(status=204))
    await drawn(page, f"{other.url}/activities/{number}")
    await expect(page.get_by_text("© Mappers")).to_be_visible()
    assert watch.foreign
    assert all(address.startswith(tiles) for address in watch.foreign)
    assert not [line for line in watch.complaints if "Content Security" in line]
    assert await violations(page) == []
