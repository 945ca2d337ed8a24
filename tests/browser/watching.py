"""Checks of pages: no foreign requests, accessible, and no layout shifts."""

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


async def overflows(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
