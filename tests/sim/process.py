"""A process of the engine, which can be killed at any await, stalled, stopped in order, and started again."""

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
"""When every world begins."""

RESCUER, SCHEDULER, PRUNER = "rescuer", "scheduler", "pruner"
SCHEDULER_NAP_S = 3600.0
"""Nobody who connects meanwhile needs a comparison sooner: a first sync has just begun."""


class ProcessDied(Exception):
    """The process that was asked is no more."""


class Machine:
    """What the processes share: the file, the network, and the machine's clock with its error."""

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
        self._rng = random.Random(f"{seed}:machine")
        file.witness.on_rescue = self._rescued
        self.graveyard: list[object] = []
        """What dead processes were doing: kept, for collecting it would run its `finally` blocks."""

    def _rescued(self) -> None:
        """Polling would find the job within seconds, but here a quiet queue is looked into seldom."""
        for process in self.processes:
            self.loop.call_later(5.0, process.notify, context=self.context)
            # The worst moment to wake up is when somebody else has just got the job, or is about to.
            self.loop.call_later(self._rng.uniform(0, 7), process.wake, context=self.context)


class SimClock:
    """The machine's clock (ports.Clock)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._machine.loop.time() + self._machine.skew_s)

    async def sleep(self, seconds: float) -> None:
        """Sleep. Some duties look into the database again and again for nothing: they sleep until there is
        something for them, and to the next beat of their own rhythm. This only costs less."""
        file, loop, began = self._machine.file, self._machine.loop, self._machine.loop.time()
        await asyncio.sleep(seconds)
        task = asyncio.current_task()
        duty = task.get_name() if task is not None else ""
        if duty == RESCUER:
            while file.idle():
                await file.until_leased()
                await asyncio.sleep(-(loop.time() - began) % seconds)
        elif duty == SCHEDULER:
            while (wait := self._until_comparison()) > 0:
                await asyncio.sleep(min(SCHEDULER_NAP_S, wait))
            await asyncio.sleep(-(loop.time() - began) % seconds)
        elif duty == PRUNER:
            while not file.has_old_calls(self.now()):
                await asyncio.sleep(seconds)

    def _until_comparison(self) -> float:
        due = self._machine.file.next_comparison()
        return SCHEDULER_NAP_S if due is None else (due - self.now()).total_seconds()


class Incarnation:
    """One life of a process: the owner of all its callbacks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stalled = False
        self.parked: list[asyncio.Handle] = []
        self.worker = ""

    def __str__(self) -> str:
        return self.name


class EngineProcess:
    """`serve` without the pages: the webhook, the inbox, the worker."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.app: App | None = None
        self._machine = machine
        self._rng = random.Random(f"{machine.seed}:{name}")
        self._life: Incarnation | None = None
        self._main: asyncio.Task[None] | None = None
        self._context: Context | None = None
        self._deaths: set[asyncio.Future[Any]] = set()
        self._fuse: int | None = None
        self._nap: tuple[int, float] | None = None
        """After how many awaits in which a job runs it stalls, and for how long."""
        self._webhook: Webhook | None = None

    @property
    def up(self) -> bool:
        return self._life is not None and self._life.alive

    def start(self) -> None:
        """Build all parts anew and set them going."""
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
        """Called where the process waits for the database or the network; others run, and a fuse burns."""
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse <= 0:
                self.kill()
                await self._machine.loop.create_future()  # for ever
        if self._nap is not None and self.app is not None and self.app.worker.producer.running:
            awaits, seconds = self._nap
            self._nap = (awaits - 1, seconds) if awaits else None
            if not awaits:
                self.stall(seconds)
        await self._machine.loop.moment(self._rng.random() * 0.002)

    def light(self, awaits: int) -> None:
        """Let it die after so many more awaits."""
        self._fuse = awaits

    def tire(self, awaits: int, seconds: float) -> None:
        """Let it stall for so long, after so many more awaits in which it has a job to do."""
        self._nap = (awaits, seconds)

    def notify(self) -> None:
        """There may be work."""
        if self.up and self.app is not None:
            self.app.wakeup.notify()

    def kill(self) -> None:
        """At once, as kill -9 does: nothing it was doing goes on, and nothing is tidied up."""
        if not self.up:
            return
        machine = self._machine
        assert self._life is not None
        self._life.alive = False
        self._fuse = self._nap = None
        self._life.parked.clear()
        machine.graveyard.append((self._main, self.app, list(asyncio.all_tasks(machine.loop))))
        machine.ledger.kills += 1
        machine.trace.note("process", f"{self.name} killed")
        self._note_unstored_pairs()
        for death in list(self._deaths):
            if not death.done():
                death.set_exception(ProcessDied(self.name))

    async def stop(self) -> None:
        """In order: what is running is finished or given back."""
        if not self.up:
            return
        self._machine.trace.note("process", f"{self.name} stopping")
        life, main = self._life, self._main
        assert life is not None
        assert main is not None
        self._stop.set()
        try:
            await self._or_death(main)
        except ProcessDied:
            pass
        except Exception as problem:
            self._machine.trace.crashes.append(f"{self.name} did not stop in order: {problem!r}")
        if life.alive:
            self.kill()

    def stall(self, seconds: float) -> None:
        """As if the machine slept, in the middle of what it does."""
        if self.up:
            assert self._life is not None
            self._life.stalled = True
            self._machine.loop.call_later(seconds, self.wake, context=self._machine.context)
            self._machine.ledger.stalls += 1
            self._note_unstored_pairs()  # the claim to refresh may run out before they are stored
            self._machine.trace.note("process", f"{self.name} stalled")

    def wake(self) -> None:
        if self.up and self._life is not None and self._life.stalled:
            self._machine.trace.note("process", f"{self.name} goes on")
            self._machine.loop.resume(self._life)

    def rest(self) -> None:
        """Nothing stalls it any more."""
        self._nap = None
        self.wake()

    def _note_unstored_pairs(self) -> None:
        """A rotated pair that this process had been given, and the database has not, died with it."""
        machine, app = self._machine, self.app
        assert app is not None
        for athlete_id, (client, newest) in machine.internet.delivered_pairs.items():
            if client == self.name and stored_refresh_token(machine.file, app, athlete_id) != newest:
                machine.ledger.lost_pairs[athlete_id] = machine.loop.time()

    # -- asking it ------------------------------------------------------------------------------------------

    async def deliver(self, body: bytes, headers: dict[str, str]) -> int:
        """POST an event; the status. ProcessDied when it dies before it has answered."""
        status, _ = await self.ask("POST", self._machine.settings.webhook_path, b"", body, headers)
        if status == 200:
            self._machine.ledger.acknowledged[identity(body)] = self._machine.loop.time()
        return status

    async def ask(self, method: str, path: str, query: bytes, body: bytes = b"",
                  headers: dict[str, str] | None = None) -> tuple[int, bytes]:  # fmt: skip
        """One request to the webhook."""
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
        """Let the process do something; its answer. ProcessDied when it dies meanwhile."""
        if not self.up:
            raise ProcessDied(self.name)

        async def run() -> Any:
            return await work()

        return await self._or_death(self._machine.loop.create_task(run(), context=self._context))

    async def _or_death(self, task: asyncio.Task[Any]) -> Any:
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
    """What the database holds, decrypted."""
    row = file.run(
        lambda c: c.exec_driver_sql(
            "SELECT refresh_token_encrypted FROM strava_athletes WHERE id = ?", (athlete_id,)
        ).first()
    )
    if row is None or row[0] is None:
        return None
    return app.tokens._vault.open(row[0], owner=f"athlete:{athlete_id}")
