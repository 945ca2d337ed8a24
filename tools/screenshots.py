"""Take a picture of every page, on desktop and phone, in light and dark.

`make screenshots` writes them to screenshots/, and three of them to docs/images/ for the README.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import aiohttp
from playwright.async_api import Browser, async_playwright

from feedzone.sandbox import Limits, RunningSandbox, SandboxOptions, running
from flow_fixtures import Installation, eventually
from processes import environment, free_port
from stage import DESKTOP, FLAGS, PAGES, PHONE, RETRIES, populate

OUT = Path(__file__).parents[1] / "screenshots"
IMAGES = Path(__file__).parents[1] / "docs/images"
IN_README = ("overview", "activity", "athlete")
"""The top of these pages is stored with the documents."""

SIZES = {"desktop": DESKTOP, "phone": PHONE}
PASSWORD = "screenshots-password"


def installation(home: Path, strava_url: str, **more: str) -> Installation:
    port = free_port()
    home.mkdir()
    database = f"sqlite:///{home / 'feedzone.db'}"
    env = environment(home, database, strava_url, port, **more)
    return Installation(home, database, strava_url, port, env, [], aiohttp.ClientSession())


async def shoot(browser: Browser, base: str, pages: dict[str, str], *, consents: bool = False) -> None:
    for size, viewport in SIZES.items():
        for theme in ("light", "dark"):
            context = await browser.new_context(
                viewport=viewport, color_scheme=theme, device_scale_factor=1, timezone_id="Europe/Berlin"
            )
            page = await context.new_page()
            await page.goto(base)  # the first request tells the server the time zone
            if consents:
                await page.goto(f"{base}/connect")
                await page.get_by_role("button", name="Authorize").click()
                await page.get_by_text("is connected").wait_for()
            for name, path in pages.items():
                await page.goto(f"{base}{path}")
                await page.wait_for_load_state("load")
                if await page.locator("#curves").count():
                    await page.locator(".curve canvas").last.wait_for()
                await page.screenshot(path=OUT / f"{name}-{size}-{theme}.png", full_page=True)
                if name in IN_README and (size, theme) == ("desktop", "light"):
                    picture = IMAGES / f"{name}.jpg"
                    await page.screenshot(path=picture, type="jpeg", quality=80)
            await context.close()
            print(f"{', '.join(pages)}: {size}, {theme}")


async def activities(full: Installation, strava: RunningSandbox) -> dict[str, str]:
    """Return the pages of a complete, a failed and a deleted activity."""
    _, stored = await full.api("activities?limit=50")
    complete, *others = stored["items"]
    failed = next(activity for activity in others if activity["sync_status"] == "failed")
    deleted = next(activity for activity in others if activity["sync_status"] == "synced")
    strava.world.delete(deleted["id"])

    async def is_deleted() -> object:
        status, _ = await full.api(f"activities/{deleted['id']}")
        return status == 404

    await eventually(is_deleted)
    shown = {"": complete, "-failed": failed, "-deleted": deleted}
    return {f"activity{name}": f"/activities/{activity['id']}" for name, activity in shown.items()}


async def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("chromium is missing: `make programs` says how")
    OUT.mkdir(exist_ok=True)
    IMAGES.mkdir(exist_ok=True)
    room = Limits(100_000, 1_000_000, 100_000, 1_000_000)
    world = SandboxOptions(port=0, seed=7, athletes=3, history_days=40, limits=room)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        async with running(world) as strava, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            full = installation(home / "full", strava.url, **RETRIES)
            empty = installation(home / "empty", strava.url)
            closed = installation(home / "closed", strava.url, ADMIN_PASSWORD=PASSWORD)
            try:
                for instance in (full, empty, closed):
                    await instance.start()
                await populate(full, strava, eventually)
                _, events = await full.api("events?limit=1")
                _, athletes = await full.api("athletes")
                pages = {path.strip("/") or "overview": path for path in PAGES}
                pages["event"] = f"/events/{events['items'][0]['id']}"
                first_athlete, *others = (f"/athletes/{athlete['id']}" for athlete in athletes["items"])
                pages |= {"disconnect": f"{first_athlete}/disconnect", "athlete": first_athlete}
                pages |= {
                    "athlete-search": f"{first_athlete}?q=along",
                    "athlete-scopes": others[0],
                    "join": "/join",
                }
                pages |= await activities(full, strava)
                await shoot(browser, full.url, pages | {"api": "/docs"})
                own = {"connected": "/connect/done", "me": "/me", "me-disconnect": "/me/disconnect"}
                await shoot(browser, full.url, own, consents=True)
                first = {f"empty-{path.strip('/') or 'overview'}": path for path in PAGES}
                await shoot(browser, empty.url, first)
                await shoot(
                    browser, closed.url, {"login": "/login", "not-found": "/nothing", "invited": "/join"}
                )
            finally:
                for instance in (full, empty, closed):
                    for process in instance.processes:
                        await process.stop()
                    await instance.browser.close()
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
