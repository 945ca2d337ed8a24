"""Checks for a page: no foreign requests, accessible, no layout shift."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Page, expect

from stage import AXE

SHIFTS = """
window.shifts = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class Watch:
    """Records forbidden requests and errors of the pages of a context."""

    hosts: tuple[str, ...]
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("request", self._requested)
        page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        page.on("console", self._said)

    def _said(self, line: ConsoleMessage) -> None:
        """Record an error, unless it comes from the sandbox's own pages."""
        where = line.location["url"]
        if line.type == "error" and not where.startswith(self.hosts[1:]):
            self.complaints.append(f"{line.text} ({where})")

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(self.hosts):
            self.foreign.append(request.url)


async def watched(context: BrowserContext, *hosts: str) -> tuple[Page, Watch]:
    """Return a page that records its requests, errors and layout shifts."""
    watch = Watch(hosts)
    page = await context.new_page()
    await page.add_init_script(SHIFTS)
    watch.over(page)
    return page, watch


async def violations(page: Page) -> list[str]:
    """Return the violations that axe finds. Its script bypasses the content policy, like an extension's."""
    await page.evaluate(AXE.read_text() + "\nundefined")
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes']]}"
        for one in found["violations"]
    ]


async def settled(page: Page) -> None:
    """Wait until the page is loaded and connected to the live stream."""
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await page.wait_for_load_state("load")


async def overflows(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
