"""The pages in a real Chromium, with a real server and sandbox."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect
from watching import assert_steady, overflows, settled, violations, watched

from stage import DESKTOP, PAGES, PHONE, RETRIES, populate

VIEWPORTS = pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])


@VIEWPORTS
async def test_a_person_connects_and_watches_an_activity_arrive(chromium, sandbox, install, viewport):
    feedzone = install(sandbox.url)
    await feedzone.start()
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    context = await chromium.new_context(viewport=viewport, timezone_id="Asia/Tokyo")
    page, watch = await watched(context, feedzone.url, sandbox.url)

    await page.goto(feedzone.url)
    await page.get_by_role("link", name="Connect with Strava").first.click()
    await page.locator(".strava:visible").click()
    await page.get_by_role("button", name="Authorize").click()
    await expect(page.get_by_text("is connected")).to_be_visible()
    assert await violations(page) == []
    await expect(page.get_by_text("Initial sync complete")).to_be_visible(timeout=30_000)
    athlete = next(iter(sandbox.world.grants.live))
    await page.get_by_role("link", name="Your data").last.click()
    await expect(page.get_by_text("all synced")).to_be_visible()
    await settled(page)
    assert await violations(page) == []
    assert not await overflows(page)

    await page.goto(feedzone.url)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    sandbox.world.record(athlete, sport="Ride", minutes=20, name="Seen without a reload")
    await expect(page.get_by_text("Seen without a reload").first).to_be_visible(timeout=10_000)
    await expect(page.get_by_text("stored in").first).to_be_visible(timeout=10_000)
    assert not await overflows(page)
    await page.locator(".top summary").click()
    await expect(page.get_by_text("Times are in Asia/Tokyo.")).to_be_visible()
    assert watch.foreign == []
    assert watch.complaints == []


@pytest.mark.timeout(240)
@VIEWPORTS
async def test_every_page_is_accessible_without_layout_shift_or_foreign_requests(chromium, stage, viewport):
    feedzone = stage.feedzone
    _, found = await feedzone.api("events?limit=1")
    _, people = await feedzone.api("athletes")
    more = (f"/events/{found['items'][0]['id']}", f"/athletes/{people['items'][0]['id']}/disconnect", "/docs")
    for theme in ("light", "dark"):
        context = await chromium.new_context(viewport=viewport, color_scheme=theme)
        page, watch = await watched(context, feedzone.url)
        for path in (*PAGES, *more):
            await page.goto(f"{feedzone.url}{path}")
            if path != "/docs":
                await settled(page)
            assert await violations(page) == [], f"{path} {theme}"
            assert not await overflows(page), f"{path} is wider than the window"
            await assert_steady(page)
        await page.locator(".top summary").click()
        assert await violations(page) == [], f"preferences {theme}"
        assert watch.foreign == []
        assert watch.complaints == []
        await context.close()


@pytest.mark.timeout(240)
async def test_the_pages_can_be_read_and_used_without_javascript(chromium, stage):
    feedzone = stage.feedzone
    context = await chromium.new_context(java_script_enabled=False, viewport=PHONE)
    page = await context.new_page()
    await page.goto(feedzone.url)
    await expect(page.get_by_role("heading", name="Live feed")).to_be_visible()
    await expect(page.get_by_text("Along the river").first).to_be_visible()
    for name in ("Athletes", "Events", "Failures", "Health"):
        await page.get_by_role("link", name=name, exact=True).first.click()
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.get_by_role("link", name=name, exact=True).first).to_have_attribute(
            "aria-current", "page"
        )
    await page.get_by_role("link", name="Failures", exact=True).click()
    await (
        page.get_by_role("button", name="Discard", exact=True).or_(page.get_by_text("Discard…")).first.click()
    )
    await page.get_by_label("Reason").fill("Strava's own fault")
    await page.get_by_role("button", name="Discard", exact=True).click()
    await expect(page.get_by_text("Job discarded; its events keep the reason.")).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("Job restored.")).to_be_visible()
    await page.locator(".top summary").click()
    await page.get_by_role("button", name="Miles").click()
    await page.goto(feedzone.url)
    await expect(page.get_by_text(re.compile(r"\d mi\b")).first).to_be_visible()


@pytest.mark.timeout(240)
@VIEWPORTS
async def test_actions_answer_in_place_and_say_what_they_did(
    chromium, sandbox, install, eventually, viewport
):
    feedzone = install(sandbox.url, **RETRIES)
    await feedzone.start()
    await populate(feedzone, sandbox, eventually)
    context = await chromium.new_context(viewport=viewport)
    page, watch = await watched(context, feedzone.url)
    notices = page.locator("#notices")

    await page.goto(f"{feedzone.url}/athletes")
    await settled(page)
    await page.get_by_role("button", name="Sync now").first.click()
    await expect(notices).to_contain_text("Syncing the last 30 days")
    await page.get_by_role("button", name="Sync full history").first.click()
    await expect(notices).to_contain_text("Syncing the full history")
    await page.get_by_role("button", name="Check now").first.click()
    await expect(notices).to_contain_text(" queued.")
    assert await violations(page) == []

    await page.goto(f"{feedzone.url}/failures")
    await settled(page)
    await page.get_by_text("1 attempt").click()
    await page.get_by_text("Discard…").click()
    await page.get_by_label("Reason").fill("Strava's own fault")
    await page.get_by_role("button", name="Discard", exact=True).click()
    await expect(notices).to_contain_text("Job discarded; its events keep the reason.")
    await expect(page.get_by_text("No failed jobs")).to_be_visible()
    await notices.get_by_role("button", name="Undo").click()
    await expect(notices).to_contain_text("Job restored.")
    sandbox.world.faults.poison.clear()
    await page.get_by_role("button", name="Retry").first.click()
    await expect(page.get_by_text("No failed jobs")).to_be_visible()

    await page.goto(f"{feedzone.url}/athletes")
    name = await page.locator(".people h2").first.inner_text()
    await page.get_by_role("link", name=f"Disconnect: {name}").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Disconnect {name}?")
    await expect(page.get_by_text("Data that will be deleted")).to_be_visible()
    await page.get_by_role("button", name="Disconnect and delete").click()
    await expect(page.get_by_text("Disconnected athletes")).to_be_visible()
    await expect(page.get_by_text("Receipt:")).to_be_visible()
    await expect(page.locator(".people h2").filter(has_text=name)).to_have_count(0)
    assert watch.complaints == []


async def test_the_setup_checklist_updates_on_the_open_page(chromium, sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    page, _ = await watched(await chromium.new_context(), feedzone.url)
    await page.goto(feedzone.url)
    steps = page.locator(".steps li")
    await expect(steps.filter(has_text="Webhooks from Strava")).not_to_have_class("done")
    assert await violations(page) == []
    await page.locator(".steps").get_by_role("button", name="Subscribe to webhooks").click()
    await expect(page.locator("#notices")).to_contain_text("Subscribed to webhooks")
    await expect(steps.filter(has_text="Webhooks from Strava")).to_have_class("done")
    await feedzone.connect(next(iter(sandbox.world.athletes)))
    await expect(page.get_by_text("Getting started")).to_be_hidden(timeout=30_000)


async def test_the_operator_signs_in_and_out_by_keyboard(chromium, sandbox, install):
    feedzone = install(sandbox.url, ADMIN_PASSWORD="correct horse battery")
    await feedzone.start()
    page, watch = await watched(await chromium.new_context(viewport=PHONE), feedzone.url)
    await page.goto(f"{feedzone.url}/health")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await violations(page) == []
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Wrong password.")).to_be_visible()
    assert await violations(page) == []
    watch.complaints.clear()  # Chromium notes the 401
    await page.keyboard.type("correct horse battery")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{feedzone.url}/health")
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    menu = page.locator("details.menu")
    await page.locator(".top summary").focus()
    await page.keyboard.press("Enter")
    await expect(menu).to_have_attribute("open", "")
    await page.get_by_role("button", name="Dark").click()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.keyboard.press("Escape")
    await expect(menu).not_to_have_attribute("open", "")
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.locator(".top summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert watch.complaints == []


async def test_a_page_shows_a_lost_connection_and_catches_up(chromium, sandbox, install):
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    page, _ = await watched(await chromium.new_context(), feedzone.url)
    await page.goto(feedzone.url)
    await settled(page)
    process.kill()
    await expect(page.get_by_text("Reconnecting…")).to_be_visible()
    await feedzone.start()
    await feedzone.connect(next(iter(sandbox.world.athletes)))
    await expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=20_000)
    await expect(page.locator("#people").locator("..")).to_contain_text("1 connected", timeout=20_000)


async def test_an_athlete_who_declines_gets_an_explanation_and_can_try_again(chromium, sandbox, install):
    feedzone = install(sandbox.url)
    await feedzone.start()
    page = await chromium.new_page()
    await page.goto(f"{feedzone.url}/connect")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("link", name="Try again")).to_be_visible()
    assert await violations(page) == []
    _, found = await feedzone.api("athletes")
    assert found["items"] == []
