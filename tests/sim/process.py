"""An engine process that can be killed at any await, stalled, stopped in order, and restarted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

from feedzone.app import App, build, working
from feedzone.ingest.webhook import Webhook, WebhookOptions
from feedzone.settings import Settings

from .ledger import Ledger
from .loop import OWNER, VirtualLoop
from .network import Internet, SimTransport, identity
from .storage import File, InlineDatabase
from .trace import Trace

EPOCH = datetime(2026, 3, 14, 5, 20, tzinfo=UTC)
"""The time at which every world begins."""

RESCUER, SCHEDULER, PRUNER, ERASURES = "rescuer", "scheduler", "pruner", "erasure log"
LEADERSHIP = "leadership"
LEADERSHIP_SLEEP_S = 3600.0
"""The longest sleep of a leader without duties. Its lease ends meanwhile, and it takes it again."""
SCHEDULER_SLEEP_S = 3600.0
"""The scheduler's longest sleep. An athlete that connects meanwhile starts with a backfill anyway."""
ERASURES_SLEEP_S = 12 * 3600.0
"""The pause of the erasure log: no world restores a backup."""
IDLE_LOOK_S = 8 * 3600.0
"""How often the scheduler looks for idle calls: rarely, because each comparison costs time."""


class ProcessDied(Exception):
    """The process died before it answered."""


class Machine:
    """The shared parts of all processes: the file, the network, and the clock with its error."""

    def __init__(self, loop: VirtualLoop, settings: Settings, file: File, internet: Internet, ledger: Ledger,
                 trace: Trace, context: Context, seed: int) -> None:  # fmt: skip
        self.loop = loop
        self.settings = settings
        self.file = file
        self.internet = internet
        self.ledger = ledger
        self.trace = trace
        self.context = context
        self.seed = seed
        self.skew_s = 0.0
        self.busy = 0.0
        self.processes: list[EngineProcess] = []
        self.idle_look_s = IDLE_LOOK_S
        self._rng = random.Random(f"{seed}:machine")
        file.witness.on_rescue = self._after_rescue
        self.graveyard: list[object] = []
        """The tasks of dead processes: kept, because garbage collection would run their `finally` blocks."""

    def _after_rescue(self) -> None:
        """Notify the processes: with the simulation's long poll interval they would find the job too late."""
        for process in self.processes:
            self.loop.call_later(5.0, process.notify, context=self.context)
            # The worst time for a stalled process to wake is just before or after another one leases the job.
            self.loop.call_later(self._rng.uniform(0, 7), process.wake, context=self.context)


class SimClock:
    """The machine's clock (ports.Clock)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._machine.loop.time() + self._machine.skew_s)

    async def sleep(self, seconds: float) -> None:
        """Sleep; duties that poll a quiet database sleep until there is work for them.

        Then they sleep until the next beat of their own rhythm, so no observer can tell the difference. It
        only saves time.
        """
        file, loop, began = self._machine.file, self._machine.loop, self._machine.loop.time()
        await asyncio.sleep(seconds)
        task = asyncio.current_task()
        duty = task.get_name() if task is not None else ""
        if duty == RESCUER:
            while file.idle():
                await file.until_leased()
                await asyncio.sleep(-(loop.time() - began) % seconds)
        elif duty == SCHEDULER:
            latest = loop.time() + self._machine.idle_look_s
            while (wait := self._until_due()) > 0 and loop.time() < latest:
                await asyncio.sleep(min(SCHEDULER_SLEEP_S, wait, latest - loop.time()))
            await asyncio.sleep(-(loop.time() - began) % seconds)
        elif duty == LEADERSHIP:
            latest = began + LEADERSHIP_SLEEP_S
            while (wait := self._until_due()) > 0 and loop.time() < latest:
                await asyncio.sleep(min(wait, latest - loop.time()))
            await asyncio.sleep(-(loop.time() - began) % seconds)
        elif duty == PRUNER:
            while not file.has_old_rows(self.now()):
                await asyncio.sleep(seconds)
        elif duty == ERASURES:
            await asyncio.sleep(ERASURES_SLEEP_S)

    def _until_due(self) -> float:
        due = self._machine.file.next_due()
        return SCHEDULER_SLEEP_S if due is None else (due - self.now()).total_seconds()


class Incarnation:
    """One run of a process, from start to death: the owner of its callbacks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stalled = False
        self.parked: list[asyncio.Handle] = []
        self.worker = ""

    def __str__(self) -> str:
        return self.name


class EngineProcess:
    """`serve` without the pages: webhook, inbox and worker."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.app: App | None = None
        self._machine = machine
        self._rng = random.Random(f"{machine.seed}:{name}")
        self._life: Incarnation | None = None
        self._main: asyncio.Task[None] | None = None
        self._context: Context | None = None
        self._deaths: set[asyncio.Future[Any]] = set()
        self._awaits_to_kill: int | None = None
        self._planned_stall: tuple[int, float] | None = None
        """The number of awaits with a running job before the next stall, and its seconds."""
        self._webhook: Webhook | None = None

    @property
    def up(self) -> bool:
        return self._life is not None and self._life.alive

    def start(self) -> None:
        """Build a new application and start it."""
        machine = self._machine
        life = self._life = Incarnation(self.name)
        context = self._context = machine.context.copy()
        context.run(OWNER.set, life)
        database = InlineDatabase(machine.file, self.pause, self._rng, lambda: machine.busy)
        self.app = context.run(
            build,
            machine.settings,
            transport=SimTransport(machine.internet, self.name, self.pause),
            clock=SimClock(machine),
            rng=random.Random(self._rng.random()),
            database=database,
        )
        life.worker = self.app.worker.name
        settings = machine.settings
        options = WebhookOptions(
            settings.webhook_path, settings.verify_token, settings.signature_mode, settings.signature_keys
        )
        self._webhook = Webhook(self.app.inbox, options, self.app.metrics, self.app.clock)
        self._stop = asyncio.Event()
        self._main = machine.loop.create_task(self._run(self.app), name=self.name, context=context)
        machine.trace.note("process", f"{self.name} started")

    async def _run(self, app: App) -> None:
        async with working(app):
            await self._stop.wait()
        await app.inbox.close()

    async def pause(self) -> None:
        """Let other tasks run, and carry out a planned kill or stall.

        Called before and after each use of the database and the network.
        """
        if self._awaits_to_kill is not None:
            self._awaits_to_kill -= 1
            if self._awaits_to_kill <= 0:
                self.kill()
                await self._machine.loop.create_future()  # waits forever
        if self._planned_stall is not None and self.app is not None and self.app.worker.producer.running:
            awaits, seconds = self._planned_stall
            self._planned_stall = (awaits - 1, seconds) if awaits else None
            if not awaits:
                self.stall(seconds)
        await self._machine.loop.sleep(self._rng.random() * 0.002)

    def kill_after(self, awaits: int) -> None:
        """Kill the process after this number of awaits."""
        self._awaits_to_kill = awaits

    def stall_after(self, awaits: int, seconds: float) -> None:
        """Stall for `seconds` after this number of awaits with a running job."""
        self._planned_stall = (awaits, seconds)

    def notify(self) -> None:
        """Signal that there may be work."""
        if self.up and self.app is not None:
            self.app.wakeup.notify()

    def kill(self) -> None:
        """Kill the process as kill -9 does: its tasks end at once, without cleanup."""
        if not self.up:
            return
        machine = self._machine
        assert self._life is not None
        self._life.alive = False
        self._awaits_to_kill = self._planned_stall = None
        self._life.parked.clear()
        machine.graveyard.append((self._main, self.app, list(asyncio.all_tasks(machine.loop))))
        machine.ledger.kills += 1
        machine.trace.note("process", f"{self.name} killed")
        self._note_unstored_pairs()
        for death in list(self._deaths):
            if not death.done():
                death.set_exception(ProcessDied(self.name))

    async def stop(self) -> None:
        """Stop in order: running jobs are finished or returned to the queue."""
        if not self.up:
            return
        self._machine.trace.note("process", f"{self.name} stopping")
        life, main = self._life, self._main
        assert life is not None
        assert main is not None
        self._stop.set()
        try:
            await self._result_of(main)
        except ProcessDied:
            pass
        except Exception as problem:
            self._machine.trace.crashes.append(f"{self.name} did not stop in order: {problem!r}")
        if life.alive:
            self.kill()

    def stall(self, seconds: float) -> None:
        """Stall the process in the middle of its work, as if the machine slept."""
        if self.up:
            assert self._life is not None
            self._life.stalled = True
            self._machine.loop.call_later(seconds, self.wake, context=self._machine.context)
            self._machine.ledger.stalls += 1
            self._note_unstored_pairs()  # the refresh lease may end before the process stores them
            self._machine.trace.note("process", f"{self.name} stalled")

    def wake(self) -> None:
        if self.up and self._life is not None and self._life.stalled:
            self._machine.trace.note("process", f"{self.name} resumed")
            self._machine.loop.resume(self._life)

    def end_stalls(self) -> None:
        """Cancel a planned stall and end the present one."""
        self._planned_stall = None
        self.wake()

    def _note_unstored_pairs(self) -> None:
        """Note the rotated pairs that this process received and did not store yet: they may be lost."""
        machine, app = self._machine, self.app
        assert app is not None
        for athlete_id, (client, newest) in machine.internet.delivered_pairs.items():
            if client == self.name and stored_refresh_token(machine.file, app, athlete_id) != newest:
                machine.ledger.lost_pairs[athlete_id] = machine.loop.time()

    # -- requests -------------------------------------------------------------------------------------------

    async def deliver(self, body: bytes, headers: dict[str, str]) -> int:
        """POST an event and return the status. Raises ProcessDied if the process dies before it answers."""
        status, _ = await self.request("POST", self._machine.settings.webhook_path, b"", body, headers)
        if status == 200:
            self._machine.ledger.acknowledged[identity(body)] = self._machine.loop.time()
        return status

    async def request(self, method: str, path: str, query: bytes, body: bytes = b"",
                  headers: dict[str, str] | None = None) -> tuple[int, bytes]:  # fmt: skip
        """Send one request to the webhook; return status and body."""
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        async def serve() -> None:
            assert self._webhook is not None
            await self._webhook(scope, receive, send)

        await self.do(serve)
        return sent[0]["status"], sent[1].get("body", b"")

    async def do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run `work` in the process and return its result. Raises ProcessDied if the process dies first."""
        if not self.up:
            raise ProcessDied(self.name)

        async def run() -> Any:
            return await work()

        return await self._result_of(self._machine.loop.create_task(run(), context=self._context))

    async def _result_of(self, task: asyncio.Task[Any]) -> Any:
        answer: asyncio.Future[Any] = self._machine.loop.create_future()
        self._deaths.add(answer)

        def ended(task: asyncio.Task[Any]) -> None:
            if answer.done():
                return
            if task.cancelled():
                answer.set_exception(ProcessDied(self.name))
            elif problem := task.exception():
                answer.set_exception(problem)
            else:
                answer.set_result(task.result())

        task.add_done_callback(ended, context=self._machine.context)
        try:
            return await answer
        finally:
            self._deaths.discard(answer)


def stored_refresh_token(file: File, app: App, athlete_id: int) -> str | None:
    """Return the decrypted refresh token of the database."""
    row = file.run(
        lambda c: c.exec_driver_sql(
            "SELECT refresh_token_encrypted FROM strava_athletes WHERE id = ?", (athlete_id,)
        ).first()
    )
    if row is None or row[0] is None:
        return None
    return app.tokens._vault.open(row[0], owner=f"athlete:{athlete_id}")
