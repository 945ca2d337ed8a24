"""Automatic actions of connected athletes, for the demo: they upload, rename, hide and delete."""

from __future__ import annotations

import asyncio
import contextlib

from .seeded_random import seeded_random
from .sender import Sleep
from .world import World

_NAMES = ("Coffee ride", "Not raining, yet", "Recovery, allegedly", "New loop", "With the dog",
          "Hill repeats", "The long way", "Sunrise session", "Chasing Greta", "Easy does it")  # fmt: skip
_RECENT = 12


class Autopilot:
    """Makes connected athletes act `per_hour` times an hour on average; safe to start and stop twice."""

    def __init__(self, world: World, per_hour: float, sleep: Sleep = asyncio.sleep) -> None:
        self._world = world
        self._per_hour = per_hour
        self._sleep = sleep
        self._rng = seeded_random(world.seed, "life")
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to act, unless `per_hour` is zero."""
        if self._per_hour > 0 and self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop acting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def step(self, now: float) -> list[str]:
        """Do all actions that are due by `now`; return one line per action."""
        if not self._due:
            self._due = now + self._gap()
        done: list[str] = []
        while self._due <= now:
            self._due += self._gap()
            if line := self._act():
                done.append(line)
        return done

    async def _run(self) -> None:
        while True:
            self.step(self._world.clock())
            await self._sleep(max(0.05, self._due - self._world.clock()))

    def _gap(self) -> float:
        return self._rng.expovariate(self._per_hour / 3600)

    def _act(self) -> str | None:
        rng, world = self._rng, self._world
        connected = sorted(world.grants.live)
        if not connected:
            return None
        athlete_id = rng.choice(connected)
        recent = world.visible(athlete_id, private_too=True)[-_RECENT:]
        action = rng.choices(("upload", "rename", "hide", "show", "delete"), (60, 18, 8, 8, 6))[0]
        shown = [spec for spec in recent if not spec.private]
        hidden = [spec for spec in recent if spec.private]
        if action == "rename" and recent:
            spec = world.rename(rng.choice(recent).id, rng.choice(_NAMES))
        elif action == "hide" and shown:
            spec = world.hide(rng.choice(shown).id)
        elif action == "show" and hidden:
            spec = world.unhide(rng.choice(hidden).id)
        elif action == "delete" and len(recent) > _RECENT // 2:
            spec = world.delete(rng.choice(recent).id)
        else:
            action = "upload"
            sports = world.athletes[athlete_id].mix
            sport = rng.choices([name for name, _ in sports], [weight for _, weight in sports])[0]
            spec = world.record(athlete_id, sport, round(rng.uniform(18, 110)))
        return f"{athlete_id} {action} {spec.id}"
