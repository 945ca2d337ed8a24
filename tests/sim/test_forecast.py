"""Pain 47. What is said of a first sync's end after its first tenth comes true."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from feedzone.sandbox import Limits

from .process import EngineProcess
from .runner import make_template, workplace
from .scenario import CALM, Scenario
from .simulation import Simulation

LOOK_EVERY_S = 300.0


@dataclass
class Promise:
    """What was said of an athlete's sync, when, and when it was kept."""

    made_at: datetime
    done_at: datetime
    calls: int
    kept_at: datetime | None = None

    @property
    def error(self) -> float:
        """As a share of the time that it took from then on."""
        assert self.kept_at is not None
        return abs(self.done_at - self.kept_at) / (self.kept_at - self.made_at)


class Watched(Simulation):
    """A world in which somebody looks at the progress all the time."""

    promises: dict[int, Promise]

    async def _subscribe(self, process: EngineProcess) -> None:
        await super()._subscribe(process)
        self.promises = {}
        self._watching = self.loop.create_task(self._watch(process))

    async def _watch(self, process: EngineProcess) -> None:
        while not self.promises or any(promise.kept_at is None for promise in self.promises.values()):
            await asyncio.sleep(LOOK_EVERY_S)
            assert process.app is not None
            queries = process.app.queries
            for athlete in (await process.do(lambda queries=queries: queries.athletes.page(50))).items:
                sync, progress, now = athlete.sync, athlete.progress, process.app.clock.now()
                promise = self.promises.get(athlete.id)
                enough = progress.listed and sync.activities_done * 10 >= sync.activities_total > 0
                if promise is None and enough and sync.done_at is not None:
                    self.promises[athlete.id] = Promise(now, sync.done_at, sync.calls_needed)
                if promise is not None and promise.kept_at is None and progress.completed:
                    promise.kept_at = progress.completed_at


def promises(seed: int, scenario: Scenario) -> list[Promise]:
    folder = workplace()
    try:
        world = Watched(seed, scenario, make_template(folder), folder)
        result = world.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert result.divergences == []
    return list(world.promises.values())


WORLD = replace(CALM, athletes=2, days=0.9, settle_hours=26.0, departures_a_day=0.0)
OVERNIGHT = replace(WORLD, history_days=250, sync_days=270, limits=Limits(140, 1400, 70, 700))
BUSY = replace(WORLD, history_days=200, sync_days=220, limits=Limits(60, 4000, 30, 2000), acts_a_day=24.0)


@pytest.mark.parametrize(("scenario", "seed"), [(OVERNIGHT, 1), (OVERNIGHT, 3), (BUSY, 1)])
def test_the_end_of_a_first_sync_is_told_after_its_first_tenth(scenario, seed):
    made = promises(seed, scenario)
    assert made
    for promise in made:
        assert promise.kept_at is not None
        assert promise.error < 0.15, promise
