"""One seed, from the first second to the checks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from feedzone.domain import ids
from feedzone.sandbox import Application, Behaviour, Sender, World, create_app
from feedzone.settings import Settings

from .chaos import Chaos
from .checkers import check_all
from .forger import Forger
from .ledger import Ledger
from .life import DAY_S, HOUR_S, Life
from .loop import VirtualLoop
from .network import Internet, ProcessWire
from .process import EPOCH, EngineProcess, Machine
from .scenario import Scenario
from .storage import File
from .trace import CapturedLogs, Trace

KEY = "c2ltdWxhdGVkIHdvcmxkLCBub3QgYSByZWFsIGtleSE="
CALLBACK = "https://feedzone.example.org"
OPERATOR_EVERY_S = 2 * HOUR_S
"""The operator reconnects athletes and settles conflicts this often."""


@dataclass
class Result:
    """The divergences and figures of one seed. Without divergences, every condition holds."""

    seed: int
    scenario: Scenario
    digest: str = ""
    divergences: list[str] = field(default_factory=list)
    calls: int = 0
    events: int = 0
    deliveries: int = 0
    jobs: int = 0
    kills: int = 0
    transactions: int = 0
    answered_429: int = 0
    hours: float = 0.0
    seconds: float = 0.0


class Simulation:
    """A world with its own loop, database file, sandbox and processes."""

    behaviour = Behaviour(knot_s=60, sample_s=30)
    poll_ms = 3_600_000

    def __init__(
        self, seed: int, scenario: Scenario, template: Path, folder: Path, print_line: Any = None
    ) -> None:
        self.seed = seed
        self.scenario = scenario
        self.loop = VirtualLoop(random.Random(f"{seed}:schedule"))
        self.trace = Trace(self.loop.time, print_line)
        self.ledger = Ledger()
        self.path = folder / "world.db"
        self._file = File(template, self.path, self.loop)
        self.world = World(
            seed,
            lambda: EPOCH.timestamp() + self.loop.time(),
            limits=scenario.limits,
            application=Application(),
            behaviour=self.behaviour,
            faults=scenario.calm_faults(),
        )
        self._folder = folder

    def run(self) -> Result:
        """Run the world and its checkers."""
        began = time.perf_counter()
        ids._last = 0
        random.seed(self.seed)
        result = Result(self.seed, self.scenario)
        with CapturedLogs(self.trace):
            try:
                self.loop.run_until_complete(self._run_world(result))
            except Exception as problem:
                result.divergences.append(f"the simulation itself failed: {problem!r}")
                if self.trace.print_line is not None:
                    raise
            finally:
                result.digest = self.trace.digest
                result.divergences += [f"a bug was logged: {crash}" for crash in self.trace.crashes]
                self._discard()
        result.seconds = time.perf_counter() - began
        return result

    async def _run_world(self, result: Result) -> None:
        scenario, world = self.scenario, self.world
        fault_free = replace(
            scenario, api_errors=0.0, refreshes_lost=0.0, answer_lost=0.0, event_drop=0.0, event_duplicate=0.0
        )
        wire = ProcessWire(self.seed, fault_free, self.ledger, self.trace)
        sender = Sender(world, wire)
        machine = self._machine(sender, fault_free)
        processes = [EngineProcess(f"p{n + 1}", machine) for n in range(scenario.processes)]
        wire.processes = machine.processes = processes
        for _ in range(scenario.athletes):
            world.add_athlete(scenario.history_days)
        await sender.start()
        for process in processes:
            process.start()
        await self._subscribe(processes[0])
        life = Life(world, scenario, processes, self.ledger, self.trace)
        machine.internet.on_refresh = life.during_refresh
        forger = Forger(world, wire, self.ledger, self.trace)
        await life.connect_all()
        chaos = Chaos(world, scenario, machine, processes, forger, self.trace)
        chaos.begin()
        wire.scenario = scenario
        actions = self.loop.create_task(life.live())
        await asyncio.sleep(scenario.days * DAY_S)
        life.over = True
        wire.scenario = fault_free
        await chaos.end(fault_free)
        await self._settle(life, scenario.settle_hours)
        for process in processes:
            await process.stop()
        actions.cancel()
        self._check(result, sender)

    def _machine(self, sender: Sender, fault_free: Scenario) -> Machine:
        context = copy_context()
        app = create_app(self.world, sender)
        internet = Internet(self.world, app, fault_free, self.ledger, self.trace, context)
        return Machine(
            self.loop, settings_for(self.scenario, self._folder, self.poll_ms), self._file, internet,
            self.ledger, self.trace, context, self.seed,
        )  # fmt: skip

    async def _subscribe(self, process: EngineProcess) -> None:
        async def ensure() -> None:
            assert process.app is not None
            await process.app.subscription.ensure()

        await process.do(ensure)

    async def _settle(self, life: Life, hours: float) -> None:
        """Let time pass without faults, while the operator reconnects athletes and settles conflicts."""
        end = self.loop.time() + hours * HOUR_S
        while self.loop.time() < end - OPERATOR_EVERY_S:
            await life.reconnect(self._disconnected())
            await life.settle_conflicts(self._conflicts())
            await asyncio.sleep(OPERATOR_EVERY_S)
        await asyncio.sleep(max(0.0, end - self.loop.time()))

    def _conflicts(self) -> list[str]:
        query = "SELECT id FROM conflicts WHERE status = 'open' ORDER BY id"
        return [row[0] for row in self._file.run(lambda c: c.exec_driver_sql(query).all())]

    def _disconnected(self) -> list[int]:
        """Return the athletes who lost access although they are connected at Strava."""
        query = "SELECT id, status FROM strava_athletes WHERE status <> 'active' ORDER BY id"
        rows = self._file.run(lambda c: c.exec_driver_sql(query).all())
        disconnected = []
        for athlete_id, status in rows:
            live = athlete_id in self.world.grants.live
            if status in ("needs_reauth", "leaving") and live:
                if athlete_id not in self.ledger.lost_pairs and athlete_id not in self.ledger.ever_left:
                    self.ledger.needless_reconnects.add(athlete_id)
                disconnected.append(athlete_id)
            elif status == "deauthorized" and live and athlete_id not in self.ledger.removed:
                disconnected.append(athlete_id)
        return disconnected

    def _check(self, result: Result, sender: Sender) -> None:
        journal = self.world.journal
        result.calls = sum(journal.by_endpoint.values())
        result.events = journal.event_count
        result.deliveries = self.trace.counts["delivery"]
        result.jobs = self.trace.counts["job_finished"]
        result.kills = self.ledger.kills
        result.transactions = self._file.transactions
        result.answered_429 = journal.answered_429
        result.hours = self.loop.time() / HOUR_S
        self.ledger.allowed_429 = self.scenario.allowed_429
        self.ledger.observations = self._file.witness.observations()
        if sender.pending:
            result.divergences.append(f"{sender.pending} deliveries are still under way")
        with sqlite3.connect(self.path) as rows:
            rows.row_factory = sqlite3.Row
            start = EPOCH.timestamp()
            now = start + self.loop.time()
            result.divergences += check_all(
                rows, self.world, self.ledger, start, now, self.scenario.sync_days
            )
        rows.close()

    def _discard(self) -> None:
        """Close the coroutines of dead processes without log lines or effects, and delete the database."""
        self._file.close()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(BaseException):
                task.get_coro().close()  # type: ignore[union-attr]
        self.loop.clear()
        self.loop.close()
        for path in self._folder.glob(f"{self.path.name}*"):
            path.unlink()


def settings_for(scenario: Scenario, folder: Path, poll_ms: int) -> Settings:
    """Return the engine's default settings, with a longer poll interval."""
    return Settings(
        _env_file=None,
        strava_client_id="12345",
        strava_client_secret="sandbox-secret",
        strava_api_base_url="http://sandbox/api/v3",
        strava_oauth_base_url="http://sandbox/oauth",
        app_url=CALLBACK,
        feedzone_home=folder,
        token_encryption_keys=KEY,
        initial_sync_days=scenario.sync_days,
        fetch_photos=scenario.fetch_photos,
        leaving_days=1,
        queue_batch_size=scenario.batch,
        queue_poll_interval=poll_ms,
    )


def simulate(seed: int, scenario: Scenario, template: Path, folder: Path, print_line: Any = None) -> Result:
    return Simulation(seed, scenario, template, folder, print_line).run()
