"""An installation with something of everything to see: what the browser tests and the screenshots look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from feedzone.sandbox import RunningSandbox, World
from flow_fixtures import Installation

Eventually = Callable[..., Awaitable[object]]

AXE = Path(__file__).parents[1] / "frontend/node_modules/axe-core/axe.min.js"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = ("/", "/athletes", "/events", "/failures", "/health")
RETRIES = {"MAX_SYNC_RETRIES": "1"}
"""So that what fails is given up at once."""


@dataclass(frozen=True)
class Stage:
    """An installation, and the world of its sandbox."""

    feedzone: Installation
    world: World


async def furnish(feedzone: Installation, sandbox: RunningSandbox, eventually: Eventually) -> str:
    """Athletes with activities, one who granted too little, an upload, and a failure; returns its job."""
    world = sandbox.world
    whole, *others = world.athletes
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    await feedzone.connect(whole)
    for other in others:
        await feedzone.connect(other, scope="read")

    async def complete() -> object:
        _, athlete = await feedzone.api(f"athletes/{whole}")
        return athlete["progress"]["completed"]

    await eventually(complete, 60)
    _, found = await feedzone.api(f"activities?athlete_id={whole}&limit=2")
    broken = found["items"][1]["id"]
    world.faults.poison.add(broken)
    world.rename(broken, "Strava cannot show this one")
    fresh = world.record(whole, sport="GravelRide", minutes=40, name="Along the river").id

    async def stored() -> object:
        status, _ = await feedzone.api(f"activities/{fresh}/streams")
        return status == 200

    async def given_up() -> object:
        _, jobs = await feedzone.api("jobs?state=dead")
        return jobs["items"] and jobs["items"][0]["id"]

    await eventually(stored, 60)
    return str(await eventually(given_up, 60))
