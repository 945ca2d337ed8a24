"""Checks of pages: no foreign requests, accessible, and no layout shifts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web
from playwright.async_api import BrowserContext, ConsoleMessage, Page, expect

from stage import AXE

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const nodes = entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 100) ?? String(node));
    window.shifts.push({ score: entry.value, nodes });
  }
}).observe({ type: "layout-shift", buffered: true });
"""
MOST_SHIFT = 0.02
"""The highest sum of layout shift scores of a page. The web's limit for a good page is 0.1."""


@dataclass
class Watch:
    """Requests to foreign hosts and console errors of the pages of a context."""

    hosts: tuple[str, ...]
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("request", self._check_host)
        page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        page.on("console", self._log)

    def _log(self, line: ConsoleMessage) -> None:
        """Keep errors, except those on the sandbox's own pages: they are not part of feedzone."""
        where = line.location["url"]
        if line.type == "error" and not where.startswith(self.hosts[1:]):
            self.complaints.append(f"{line.text} ({where})")

    def _check_host(self, request: Any) -> None:
        if not request.url.startswith(self.hosts):
            self.foreign.append(request.url)


async def watched(context: BrowserContext, *hosts: str) -> tuple[Page, Watch]:
    """Return a page whose requests and errors are recorded and whose layout shifts are added up."""
    watch = Watch(hosts)
    page = await context.new_page()
    await page.add_init_script(SHIFTS)
    watch.over(page)
    return page, watch


async def violations(page: Page) -> list[str]:
    """Return the violations that axe finds. Its script bypasses the content policy, as extensions do."""
    await page.evaluate(AXE.read_text() + "\nundefined")
    results = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {violation['help']}: {[node['html'][:120] for node in violation['nodes']]}"
        for violation in results["violations"]
    ]


async def settled(page: Page) -> None:
    """Wait until the page is connected to the live stream and shows the current version."""
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await page.wait_for_load_state("load")


async def assert_steady(page: Page) -> None:
    """Fail if parts of the page moved without input, and name them."""
    shifts = await page.evaluate("window.shifts")
    assert sum(shift["score"] for shift in shifts) < MOST_SHIFT, f"{page.url} moved: {shifts}"


async def overflows(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@asynccontextmanager
async def slowly(upstream: str) -> AsyncIterator[str]:
    """Serve the pages of `upstream` at another address, slowly enough for a browser to paint parts."""

    async def handle(request: web.Request) -> web.StreamResponse:
        async with ClientSession() as http, http.get(f"{upstream}{request.path_qs}") as answer:
            body = await answer.read()
        response = web.StreamResponse(headers={"Content-Type": answer.headers["Content-Type"]})
        await response.prepare(request)
        paused = answer.content_type == "text/html"
        for start in range(0, len(body), 1024):
            await response.write(body[start : start + 1024])
            await asyncio.sleep(0.02 * paused)
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
