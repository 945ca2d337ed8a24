"""An installation with data in every state, for the browser tests and the screenshots."""

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
"""A failed job becomes a dead letter at once."""


@dataclass(frozen=True)
class Stage:
    """An installation and the world of its sandbox."""

    feedzone: Installation
    world: World


async def populate(feedzone: Installation, sandbox: RunningSandbox, eventually: Eventually) -> str:
    """Create athletes with and without activity scopes, an upload and a dead letter; return its job."""
    world = sandbox.world
    connected, *others = world.athletes
    assert (await feedzone.run("subscription", "ensure")).returncode == 0
    await feedzone.connect(connected)
    for other in others:
        await feedzone.connect(other, scope="read")

    async def completed() -> object:
        _, athlete = await feedzone.api(f"athletes/{connected}")
        return athlete["progress"]["completed"]

    await eventually(completed, 60)
    _, listed = await feedzone.api(f"activities?athlete_id={connected}&limit=2")
    broken = listed["items"][1]["id"]
    world.faults.poison.add(broken)
    world.rename(broken, "Strava cannot show this one")
    fresh = world.record(connected, sport="GravelRide", minutes=40, name="Along the river").id

    async def stored() -> object:
        status, _ = await feedzone.api(f"activities/{fresh}/streams")
        return status == 200

    async def dead_letter() -> object:
        _, jobs = await feedzone.api("jobs?state=dead")
        return jobs["items"] and jobs["items"][0]["id"]

    await eventually(stored, 60)
    return str(await eventually(dead_letter, 60))
