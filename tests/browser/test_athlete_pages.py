"""The pages of an athlete and the consent page in a real Chromium, with a real server and sandbox."""

from __future__ import annotations

import io
import re
import sqlite3
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from playwright.async_api import Page, expect
from watching import assert_steady, overflows, settled, slowly, violations, watched

from stage import DESKTOP, PAGES, PHONE

VIEWPORTS = pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
pytestmark = pytest.mark.timeout(240)


async def agree(page: Page, address: str, *, share: bool | None = None) -> None:
    """Connect through the consent page and Strava's; `share` None leaves the box unchanged."""
    await page.goto(f"{address}/join")
    if share is not None:
        await page.get_by_label("The operator may see my activities").set_checked(share)
    await page.locator(".strava:visible").click()
    await page.get_by_role("button", name="Authorize").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("is connected")


@VIEWPORTS
async def test_an_invited_athlete_connects_and_watches_the_activities_arrive(
    chromium, sandbox, install, viewport
):
    feedzone = install(sandbox.url, ADMIN_PASSWORD="correct horse battery")
    await feedzone.start()
    page, watch = await watched(await chromium.new_context(viewport=viewport), feedzone.url, sandbox.url)
    await page.goto(f"{feedzone.url}/join")
    box = page.get_by_label("The operator may see my activities")
    await expect(box).not_to_be_checked()
    assert await violations(page) == []
    assert not await overflows(page)
    button = page.locator(".strava:visible")
    await expect(button).to_have_count(1)
    await expect(button).to_have_attribute("href", "/connect?share=no")
    look = await button.evaluate(
        "one => { const s = getComputedStyle(one); return [s.backgroundColor, s.color, one.offsetHeight]; }"
    )
    assert look == ["rgb(252, 82, 0)", "rgb(255, 255, 255)", 48]
    await box.focus()
    await page.keyboard.press("Space")
    await expect(button).to_have_attribute("href", "/connect?share=yes")

    await button.click()
    await page.get_by_role("button", name="Authorize").click()
    await expect(page.get_by_text("is connected")).to_be_visible()
    assert await violations(page) == []
    await expect(page.locator(".arrivals li[id]").first).to_be_visible(timeout=30_000)
    await expect(page.get_by_text("Initial sync complete")).to_be_visible(timeout=30_000)
    switch = page.get_by_role("switch", name="The operator may see my activities")
    await expect(switch).to_be_checked()
    await switch.click()
    await expect(page.locator("#notices")).to_contain_text("can no longer see your activities")
    await expect(switch).not_to_be_checked()
    assert await violations(page) == []
    assert not await overflows(page)
    await page.get_by_role("button", name="Sync my full history").click()
    await expect(page.locator("#notices")).to_contain_text("Syncing your full history")
    assert watch.foreign == []
    assert watch.complaints == []


@VIEWPORTS
async def test_the_athlete_page_is_accessible_without_layout_shift_and_shows_new_activities_within_a_second(
    chromium, stage, eventually, viewport
):
    feedzone = stage.feedzone
    athlete, other = stage.world.athletes
    for theme in ("light", "dark"):
        context = await chromium.new_context(viewport=viewport, color_scheme=theme)
        page, watch = await watched(context, feedzone.url)
        for path in (
            f"/athletes/{athlete}",
            f"/athletes/{athlete}?year=2025",
            f"/athletes/{athlete}?q=nothing+is+called+so",
            f"/athletes/{other}",
            "/join",
        ):
            await page.goto(f"{feedzone.url}{path}")
            if path != "/join":
                await settled(page)
            assert await violations(page) == [], f"{path} {theme}"
            assert not await overflows(page), path
            await assert_steady(page)
        await page.goto(f"{feedzone.url}/athletes/{athlete}")
        await settled(page)
        await page.get_by_text("Show as table").click()
        assert await violations(page) == [], theme
        assert not await overflows(page)
        title = f"Just now, {theme}, {viewport['width']} px"
        stage.world.record(athlete, sport="Ride", minutes=20, name=title)

        async def stored(title: str = title) -> object:
            _, found = await feedzone.api(f"activities?athlete_id={athlete}&limit=1")
            return found["items"][0]["name"] == title

        await eventually(stored, 30)
        await expect(page.get_by_text(title)).to_be_visible()
        assert watch.foreign == []
        assert watch.complaints == []
        await context.close()


@VIEWPORTS
async def test_pages_do_not_move_while_they_arrive_slowly(chromium, stage, viewport):
    page, _ = await watched(await chromium.new_context(viewport=viewport), stage.feedzone.url)
    async with slowly(stage.feedzone.url) as address:
        for path in (*PAGES, f"/athletes/{next(iter(stage.world.athletes))}"):
            await page.goto(f"{address}{path}", wait_until="domcontentloaded")
            await expect(page.locator("main")).to_be_visible()
            await assert_steady(page)


@VIEWPORTS
async def test_an_activity_is_found_by_day_name_sport_and_state(chromium, stage, viewport):
    feedzone = stage.feedzone
    athlete = next(iter(stage.world.athletes))
    page, watch = await watched(await chromium.new_context(viewport=viewport), feedzone.url)
    await page.goto(f"{feedzone.url}/athletes/{athlete}")
    await settled(page)
    lines = page.locator("#activities .feed li")

    await page.get_by_label("Name").fill("along the")
    await page.locator("#sport").focus()
    title = f"While one types, {viewport['width']} px"
    stage.world.record(athlete, sport="Ride", minutes=20, name=title)
    await expect(page.get_by_text(title)).to_be_visible(timeout=20_000)
    await expect(page.get_by_label("Name")).to_have_value("along the")
    await page.get_by_role("button", name="Show").click()
    await expect(lines).to_have_count(1)
    await expect(lines.first.get_by_role("link")).to_have_attribute("href", re.compile(r"^/activities/\d+$"))
    await page.get_by_role("link", name="Show all").click()
    await expect(page.get_by_label("Name")).to_have_value("")

    await page.get_by_role("combobox", name="Status").select_option("Failed")
    await page.get_by_role("button", name="Show").click()
    await expect(lines).to_have_count(1)
    await expect(lines.first).to_contain_text("failed")
    assert await violations(page) == []

    await page.goto(f"{feedzone.url}/athletes/{athlete}")
    day = page.locator(".days a").last
    told = await day.get_attribute("aria-label")
    await day.click()
    await expect(page.locator(".days a[aria-current]")).to_have_count(1)
    await expect(lines).to_have_count(int(re.search(r"(\d+) activit", told or "").group(1)))
    await page.locator("#sport").select_option(index=1)
    await page.get_by_role("button", name="Show").click()
    await expect(page).to_have_url(re.compile(r"[?&]on=.*&sport=\w|[?&]sport=\w.*&on="))
    assert watch.complaints == []


@VIEWPORTS
async def test_an_athlete_downloads_shares_and_deletes_their_data(
    chromium, sandbox, install, eventually, viewport, tmp_path: Path
):
    feedzone = install(sandbox.url, ADMIN_PASSWORD="correct horse battery")
    await feedzone.start()
    context = await chromium.new_context(viewport=viewport, accept_downloads=True)
    page, watch = await watched(context, feedzone.url, sandbox.url)
    await agree(page, feedzone.url)
    await expect(page.get_by_text("Initial sync complete")).to_be_visible(timeout=60_000)
    await page.get_by_role("link", name="Your data").last.click()
    await settled(page)
    assert await violations(page) == []
    assert not await overflows(page)

    async with page.expect_download() as starting:
        await page.get_by_role("link", name="Download my data").click()
    download = await starting.value
    await download.save_as(tmp_path / download.suggested_filename)
    archive = zipfile.ZipFile(tmp_path / download.suggested_filename)
    assert archive.testzip() is None
    names = archive.namelist()
    _, shown = await feedzone.api("activities?limit=200")
    assert {f"activities/{one['id']}.json" for one in shown["items"]} <= set(names)
    recorded = next(name for name in names if name.endswith(".parquet"))
    assert pq.read_table(io.BytesIO(archive.read(recorded))).num_rows > 10

    for button, said in (
        ("Sync now", "Syncing your last 30 days"),
        ("Sync full history", "Syncing your full history"),
        ("Check now", "Check queued"),
    ):
        await page.get_by_role("button", name=button, exact=True).click()
        await expect(page.locator("#notices")).to_contain_text(said)
    switch = page.get_by_role("switch")
    await switch.click()
    await expect(switch).to_be_checked()
    await expect(page.locator("#notices")).to_contain_text("can now see your activities")

    await page.get_by_role("link", name="Delete my data").click()
    await expect(page.get_by_role("heading", name="Data that will be deleted")).to_be_visible()
    assert await violations(page) == []
    await page.get_by_role("button", name="Disconnect and delete").click()
    await expect(page.get_by_role("heading", name="You are not connected")).to_be_visible()
    await expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    assert await violations(page) == []
    await page.locator(".strava").click()
    await expect(page).to_have_url(f"{feedzone.url}/join")
    assert watch.foreign == []
    assert watch.complaints == []


async def test_an_operator_sees_the_calendar_as_soon_as_the_athlete_shares_it(chromium, sandbox, install):
    feedzone = install(sandbox.url, ADMIN_PASSWORD="correct horse battery")
    process = await feedzone.start()
    athlete = next(iter(sandbox.world.athletes))
    await feedzone.connect(athlete)
    await process.stop()
    feedzone.env["APP_URL"] = "http://feedzone.test"  # from now on others may come, too
    await feedzone.start()
    page, watch = await watched(await chromium.new_context(viewport=PHONE), feedzone.url)
    await page.goto(f"{feedzone.url}/login?next=/athletes/{athlete}")
    await page.get_by_label("Operator password").fill("correct horse battery")
    await page.keyboard.press("Enter")
    await settled(page)
    await expect(page.get_by_text("has not shared activity names")).to_be_visible()
    await expect(page.locator(".calendar")).to_have_count(0)
    assert await violations(page) == []
    assert not await overflows(page)
    with sqlite3.connect(feedzone.home / "feedzone.db") as database:
        database.execute("UPDATE strava_athletes SET operator_may_see = 1")
    await expect(page.locator(".calendar")).to_be_visible()
    assert watch.complaints == []


@VIEWPORTS
async def test_the_pages_read_and_work_without_javascript(chromium, stage, viewport):
    feedzone = stage.feedzone
    athlete = next(iter(stage.world.athletes))
    context = await chromium.new_context(java_script_enabled=False, viewport=viewport)
    page = await context.new_page()
    await page.goto(f"{feedzone.url}/athletes")
    await page.locator(".people h2 a").first.click()
    await expect(page.locator(".days a").last).to_be_visible()
    await page.get_by_label("Name").fill("along the")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#activities .feed li")).to_have_count(1)
    await page.get_by_role("button", name="Check now").click()
    await expect(page.get_by_text(" queued.")).to_be_visible()
    await expect(page).to_have_url(f"{feedzone.url}/athletes/{athlete}")
    await agree(page, feedzone.url, share=False)
    await expect(page.get_by_role("switch")).not_to_be_checked()
    await page.get_by_role("switch").click()
    await expect(page.get_by_text("can now see your activities")).to_be_visible()
    await expect(page.get_by_role("switch")).to_be_checked()
