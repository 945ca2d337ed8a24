"""The forecast of a backfill's end is right after its first tenth."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from datetime import datetime

from feedzone.sandbox import Limits

from .process import EngineProcess
from .runner import make_template, workplace
from .scenario import CALM, Scenario
from .simulation import Simulation

OBSERVE_EVERY_S = 300.0
OBSERVE_LATER_S = 3600.0
"""Once every forecast is recorded, only the ends are missing, and the database stores them."""


@dataclass
class Prediction:
    """A forecast of the end of an athlete's backfill, its time, and the real end."""

    made_at: datetime
    done_at: datetime
    calls: int
    ended_at: datetime | None = None

    @property
    def error(self) -> float:
        """Return the error as a share of the remaining time."""
        assert self.ended_at is not None
        return abs(self.done_at - self.ended_at) / (self.ended_at - self.made_at)


class ObservedSimulation(Simulation):
    """A world that records the forecasts."""

    predictions: dict[int, Prediction]

    async def _subscribe(self, process: EngineProcess) -> None:
        await super()._subscribe(process)
        self.predictions = {}
        self._observer = self.loop.create_task(self._observe(process))

    async def _observe(self, process: EngineProcess) -> None:
        while not self.predictions or any(
            prediction.ended_at is None for prediction in self.predictions.values()
        ):
            await asyncio.sleep(self._pause())
            assert process.app is not None
            queries = process.app.queries
            for athlete in (await process.do(lambda queries=queries: queries.athletes.page(50))).items:
                sync, progress, now = athlete.sync, athlete.progress, process.app.clock.now()
                prediction = self.predictions.get(athlete.id)
                enough = progress.listed and sync.activities_done * 10 >= sync.activities_total > 0
                if prediction is None and enough and sync.done_at is not None:
                    self.predictions[athlete.id] = Prediction(now, sync.done_at, sync.calls_needed)
                if prediction is not None and prediction.ended_at is None and progress.completed:
                    prediction.ended_at = progress.completed_at

    def _pause(self) -> float:
        complete = len(self.predictions) == self.scenario.athletes
        return OBSERVE_LATER_S if complete else OBSERVE_EVERY_S


def predictions(seed: int, scenario: Scenario) -> list[Prediction]:
    folder = workplace()
    try:
        world = ObservedSimulation(seed, scenario, make_template(folder), folder)
        result = world.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert result.divergences == []
    return list(world.predictions.values())


BUSY = replace(
    CALM,
    athletes=2,
    days=0.9,
    settle_hours=26.0,
    departures_a_day=0.0,
    history_days=150,
    sync_days=170,
    limits=Limits(46, 4000, 23, 2000),
    acts_a_day=24.0,
)
"""test_quota.py tests the forecasts of backfills that take days."""


def test_the_forecast_of_a_backfill_is_right_after_its_first_tenth_while_athletes_upload():
    recorded = predictions(1, BUSY)
    assert recorded
    for prediction in recorded:
        assert prediction.ended_at is not None
        assert prediction.error < 0.15, prediction
