"""The page as people see it: real Chromium, real server, real sandbox."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_a_person_connects_and_watches_an_activity_arrive(chromium, sandbox, install, viewport):
    feedzone = install(sandbox.url)
    await feedzone.start()
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    page = await chromium.new_page(viewport=viewport)
    foreign: list[str] = []
    hosts = (feedzone.url, sandbox.url)
    page.on("request", lambda request: None if request.url.startswith(hosts) else foreign.append(request.url))

    await page.goto(feedzone.url)
    await page.get_by_role("link", name="Connect with Strava").first.click()
    await page.get_by_role("button", name="Authorize").click()
    await expect(page.get_by_text("is connected")).to_be_visible()
    athlete = next(iter(sandbox.world.grants.live))

    await page.goto(feedzone.url)
    sandbox.world.record(athlete, sport="Ride", minutes=20, name="Seen without a reload")
    await expect(page.get_by_text("Seen without a reload")).to_be_visible(timeout=10_000)
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert foreign == []


async def test_the_page_can_be_read_without_javascript(chromium, sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    await feedzone.connect(next(iter(sandbox.world.athletes)))
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(feedzone.url)
    await expect(page.get_by_role("heading", name="Athletes")).to_be_visible()
    await expect(page.get_by_role("heading", name="Activities")).to_be_visible()


async def test_who_declines_is_told_what_happened_and_can_try_again(chromium, sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    page = await chromium.new_page()
    await page.goto(f"{feedzone.url}/connect")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("link", name="Try again")).to_be_visible()
    _, found = await feedzone.api("athletes")
    assert found["items"] == []
