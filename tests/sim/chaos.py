"""Faults around the engine: kills, stalls, clock jumps, a busy database, shrinking limits and outages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from feedzone.sandbox import NAMES, Impostor, Limits, World

from .forger import Forger
from .life import DAY_S, HOUR_S
from .process import EngineProcess, Machine
from .scenario import Scenario
from .trace import Trace

ENDPOINTS = (
    "activity",
    "streams",
    "list_activities",
    "athlete",
    "photos",
    "token",
    "revoke",
    "push_subscriptions",
)


class Chaos:
    """Causes the scenario's faults from `begin` to `end`."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        machine: Machine,
        processes: list[EngineProcess],
        forger: Forger,
        trace: Trace,
    ) -> None:
        self._world = world
        self._scenario = scenario
        self._machine = machine
        self._processes = processes
        self._forger = forger
        self._trace = trace
        self._rng = random.Random(f"{world.seed}:chaos")
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        scenario = self._scenario
        self._world.faults = scenario.faults()
        self._machine.busy = scenario.database_busy
        self._machine.internet.scenario = scenario
        for rate, act in (
            (scenario.kills_an_hour * 24, self._kill),
            (scenario.stalls_a_day, self._stall),
            (scenario.clock_jumps_a_day, self._jump_clock),
            (scenario.shrinks_a_day, self._shrink_limits),
            (scenario.forgeries_a_day, self._forger.send_one),
            (scenario.impostors_a_day, self._impersonate),
        ):
            if rate:
                self._spawn(self._repeat(rate, act))
        if scenario.flood:
            self._spawn(self._forger.flood(scenario))
        if scenario.others_calls_an_hour:
            self._spawn(self._repeat(scenario.others_calls_an_hour * 24, self._other_call))
        if scenario.inactive_hours:
            self._spawn(self._deactivate_application(scenario.inactive_hours))
        if scenario.outage_hours:
            self._spawn(self._fail_every_call(scenario.outage_hours))
        for process in self._processes:
            self._spawn(self._supervise(process))

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))  # type: ignore[arg-type]

    async def end(self, calm: Scenario) -> None:
        """End all faults and start every process that is down."""
        for task in self._tasks:
            task.cancel()
        self._world.faults = calm.calm_faults()
        self._world.impostors.end()
        self._world.meter.limits = calm.limits
        self._machine.internet.scenario = calm
        self._machine.busy = 0.0
        self._machine.skew_s = 0.0
        for process in self._processes:
            process.kill_after(10**9)
            process.end_stalls()
            if not process.up:
                process.start()
        self._trace.note("chaos", "all faults end")

    async def _repeat(self, a_day: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(a_day / DAY_S))
            await act()

    async def _supervise(self, process: EngineProcess) -> None:
        """Start the process again some time after it has died."""
        while True:
            await asyncio.sleep(self._rng.uniform(5, 400))
            if not process.up:
                process.start()

    async def _kill(self) -> None:
        process = self._rng.choice(self._processes)
        if not process.up:
            return
        if self._rng.random() < self._scenario.graceful:
            await process.stop()
            return
        # The kill comes in the middle of its next work, or in idle time if it has no work for two hours.
        process.kill_after(self._rng.randrange(1, 60))
        self._spawn(self._kill_if_still_up(process))

    async def _kill_if_still_up(self, process: EngineProcess) -> None:
        before = process.app
        await asyncio.sleep(2 * HOUR_S)
        if process.up and process.app is before:
            process.kill()

    async def _stall(self) -> None:
        process = self._rng.choice(self._processes)
        if process.up:
            process.stall_after(self._rng.randrange(30), self._rng.uniform(5, 180))

    async def _jump_clock(self) -> None:
        self._machine.skew_s = self._rng.uniform(-1, 1) * self._scenario.clock_jump_s
        self._trace.note("chaos", f"the clock is {self._machine.skew_s:.3f} s off")

    async def _shrink_limits(self) -> None:
        self._world.meter.limits = Limits(
            60, 2000, self._rng.randrange(3, 25), self._rng.randrange(500, 1000)
        )
        self._trace.note("chaos", "the limits shrink")
        await asyncio.sleep(self._rng.uniform(1, 3) * HOUR_S)
        self._world.meter.limits = self._scenario.limits
        self._trace.note("chaos", "the limits are restored")

    async def _impersonate(self) -> None:
        """Let somebody else answer: at one endpoint, at some, or at all; always or sometimes."""
        rng, now = self._rng, self._world.clock()
        missing = ("not_found", "html_404", "empty_404", "other_404", "path_404")
        answer = rng.choice(missing if rng.random() < 0.4 else NAMES)
        endpoints = rng.choice((ENDPOINTS, (rng.choice(ENDPOINTS),), rng.sample(ENDPOINTS, 3)))
        lasts = rng.uniform(1, self._scenario.impostor_most_s**0.5) ** 2
        rate = rng.choice((1.0, 1.0, 0.3))
        self._world.impostors.begin(Impostor(answer, now + lasts, frozenset(endpoints), rate=rate))
        self._trace.note("chaos", f"{answer} at {' '.join(endpoints)} for {lasts:.0f} s")

    async def _other_call(self) -> None:
        self._world.consume(1)

    async def _fail_every_call(self, hours: float) -> None:
        await asyncio.sleep(self._rng.uniform(0.1, 0.5) * self._scenario.days * DAY_S)
        self._world.faults.change({"error_500": 1.0})
        self._trace.note("chaos", "Strava fails at every call")
        await asyncio.sleep(hours * HOUR_S)
        self._world.faults.change({"error_500": 0.0})
        self._trace.note("chaos", "Strava answers again")

    async def _deactivate_application(self, hours: float) -> None:
        await asyncio.sleep(self._rng.uniform(0.1, 0.5) * self._scenario.days * DAY_S)
        self._world.faults.inactive = True
        self._trace.note("chaos", "the application is inactive")
        await asyncio.sleep(hours * HOUR_S)
        self._world.faults.inactive = False
        self._trace.note("chaos", "the application is active again")
