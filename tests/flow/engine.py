"""All of feedzone in one process: real rows, a sandbox without sockets, and a clock that tests move."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from sqlalchemy import Row, Table, select

from feedzone import sandbox
from feedzone.app import App, build
from feedzone.domain import ids
from feedzone.errors import CallOverdue, TransportFailure
from feedzone.ingest.webhook import Webhook
from feedzone.ports import Request, Response
from feedzone.sandbox import UNLIMITED, Behaviour, ConnectionDroppedError, Event, Limits, Sender, World
from feedzone.serve import webhook_of
from feedzone.settings import Settings
from feedzone.store.engine.database import Database
from feedzone.store.jobs.schedule import AutoRetrySchedule

ALL = ("read", "activity:read", "activity:read_all")
DETAIL, STREAMS, LIST = "/activities/{id}", "/activities/{id}/streams", "/athlete/activities"
JSON = {"Content-Type": "application/json"}


class SandboxTransport:
    """Carries calls to the sandbox. `cut` runs before each call and after its response, and may raise."""

    def __init__(self, world: World, app: Any, cut: Callable[[Request, bool], None] | None = None) -> None:
        self._world = world
        self._app = app
        self.cut = cut

    async def send(self, request: Request, timeout: float) -> Response:
        if self.cut is not None:
            self.cut(request, False)
        query = f"?{urlencode(request.params)}" if request.params else ""
        body = urlencode(request.form).encode() if request.form is not None else b""
        path = urlsplit(request.url).path + query
        try:
            answer = await sandbox.request(self._app, request.method, path, body, dict(request.headers))
        except ConnectionDroppedError as drop:
            if drop.kind == "timeout":
                raise CallOverdue(f"no answer within {timeout:g} s") from None
            raise TransportFailure("lost connection") from None
        if self.cut is not None:
            self.cut(request, True)
        return Response(answer.status, answer.headers, answer.body)

    async def close(self) -> None: ...


@dataclass
class ManualEngine:
    """One installation. Nothing happens by itself: tests deliver events, run jobs and move the clock."""

    world: World
    database: Database
    clock: Any
    home: Path
    strava: Any
    app: App = field(init=False)
    announced: list[Event] = field(default_factory=list)
    _webhook: tuple[App, Webhook] | None = None

    def __post_init__(self) -> None:
        ids._last = 0  # ids never decrease, but each test's clock starts again
        self.world.on_event = lambda _, event: self.announced.append(event)
        self.app = self.process()

    def process(self, **more: Any) -> App:
        """Build the parts of another process on this database."""
        values: dict[str, Any] = {
            "_env_file": None,
            "strava_client_id": "12345",
            "strava_client_secret": "sandbox-secret",
            "strava_api_base_url": "https://strava.test/api/v3",
            "strava_oauth_base_url": "https://strava.test/oauth",
            "api_key": "test-api-key",
            "feedzone_home": self.home,
        }
        return build(
            Settings(**values | more),
            transport=SandboxTransport(self.world, self.strava),
            clock=self.clock,
            rng=random.Random(5),
            database=self.database,
        )

    async def connect(self, athlete_id: int, scopes: Iterable[str] = ALL) -> None:
        """Connect an athlete, as their consent at Strava does."""
        chosen = frozenset(scopes)
        code = self.world.grants.authorize(athlete_id, chosen, self.world.clock())
        await self.app.athletes.connect(code, ",".join(sorted(chosen)))

    def webhook(self) -> Webhook:
        """Return the webhook of the present process."""
        app, webhook = self._webhook or (None, None)
        if app is not self.app or webhook is None:
            webhook = webhook_of(self.app)
            self._webhook = (self.app, webhook)
        return webhook

    async def deliver(self, *events: Event | dict[str, Any]) -> list[int]:
        """Post these to the webhook; return the status codes."""
        webhook, path = self.webhook(), self.app.settings.webhook_path
        answers = []
        for event in events:
            body = event if isinstance(event, dict) else event.payload(120_475)
            answer = await sandbox.request(webhook, "POST", path, msgspec.json.encode(body), JSON)
            answers.append(answer.status)
        await self.app.dispatcher.run_once()
        return answers

    async def deliver_announced(self) -> None:
        """Deliver all events that the sandbox has announced since the last time.

        A slow machine may refuse one; Strava delivers it again, too.
        """
        events, self.announced[:] = list(self.announced), []
        for _ in range(3):
            answers = await self.deliver(*events)
            events = [event for event, status in zip(events, answers, strict=True) if status != 200]
        assert not events, answers

    async def work(self, *apps: App) -> None:
        """Run jobs until none is due."""
        await asyncio.gather(*(_work(app) for app in apps or (self.app,)))

    async def advance_and_work(self, **time: float) -> None:
        self.clock.advance(**time)
        await self.work()

    async def retry_dead_letters(self) -> None:
        """Run the schedule that retries dead letters with a transient failure, and the jobs it causes."""
        await AutoRetrySchedule(self.database, self.clock, self.app.wakeup, days=30).run()
        await self.work()

    async def reconcile(self, athlete_id: int) -> Counter[str]:
        """Run a full reconciliation and the jobs it causes; return the requests of all of them."""
        before = len(self.calls)
        await self.app.reconciliation.reconcile(athlete_id)
        await self.work()
        return self.requests(before)

    @property
    def calls(self) -> list[sandbox.Call]:
        return list(self.world.journal.calls)

    def requests(self, since: int = 0) -> Counter[str]:
        """Return the number of requests to each path, after the first `since` calls."""
        return Counter(call.path for call in self.calls[since:])

    async def rows(self, table: Table, **where: Any) -> list[Row[Any]]:
        query = select(table).where(*(table.c[name] == value for name, value in where.items()))
        return await self.database.read(lambda c: list(c.execute(query).all()))


async def _work(app: App) -> None:
    await app.dispatcher.run_once()
    producer = app.worker.producer
    while await producer.run_once() or producer.running:
        if producer.running:
            await asyncio.wait(list(producer.running), return_when=asyncio.FIRST_COMPLETED)


def make_engine(
    database: Database,
    clock: Any,
    home: Path,
    *,
    limits: Limits = UNLIMITED,
    behaviour: Behaviour | None = None,
    athletes: int = 1,
) -> tuple[ManualEngine, list[int]]:
    """Return an engine, and the ids of unconnected athletes without activities."""
    world = World(7, lambda: clock.now().timestamp(), limits, behaviour=behaviour)
    people = [world.add_athlete(history_days=0).id for _ in range(athletes)]
    for spec in list(world.activities.values()):
        world.delete(spec.id)
    app = sandbox.create_app(world, Sender(world, sandbox.HttpWire(), clock.sleep))
    return ManualEngine(world, database, clock, home, app), people
