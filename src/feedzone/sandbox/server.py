"""The sandbox as a real server on loopback, with the system's clock."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field

import uvicorn

from .app import create_app
from .autopilot import Autopilot
from .limits import Limits
from .sender import DeliveryRules, Sender
from .wire import HttpWire
from .world import Application, Behaviour, World


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """The sandbox to serve. `port` 0 takes a free port; `actions_per_hour` 0 turns the autopilot off."""

    host: str = "127.0.0.1"
    port: int = 8001
    seed: int = 1
    athletes: int = 5
    history_days: int = 365
    per_week: float = 4.5
    client_id: str = "12345"
    client_secret: str = "sandbox-secret"  # noqa: S105 - the published default of a fake service
    callback_domain: str = "localhost"
    signing_secret: str | None = None
    limits: Limits = field(default_factory=Limits)
    behaviour: Behaviour = field(default_factory=lambda: Behaviour(long_details=True))
    delivery: DeliveryRules = field(default_factory=DeliveryRules)
    actions_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A sandbox that is serving: its URL and its parts."""

    url: str
    world: World
    sender: Sender
    autopilot: Autopilot


def make_world(options: SandboxOptions) -> World:
    """Return the world that these options describe, on the system's clock."""
    application = Application(
        options.client_id, options.client_secret, options.callback_domain, options.signing_secret
    )
    world = World(options.seed, time.time, options.limits, application, options.behaviour)
    for _ in range(options.athletes):
        world.add_athlete(options.history_days, options.per_week)
    return world


@contextlib.asynccontextmanager
async def running(options: SandboxOptions) -> AsyncIterator[RunningSandbox]:
    """Serve while the context is open."""
    world, wire = make_world(options), HttpWire()
    sender = Sender(world, wire, rules=options.delivery)
    autopilot = Autopilot(world, options.actions_per_hour)
    app = create_app(world, sender, raise_drops=False)
    with socket.create_server((options.host, options.port)) as listener:
        server = _Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _until_started(server, task)
            await sender.start()
            await autopilot.start()
            host = f"[{options.host}]" if ":" in options.host else options.host
            yield RunningSandbox(f"http://{host}:{listener.getsockname()[1]}", world, sender, autopilot)
        finally:
            await autopilot.stop()
            await sender.stop()
            await wire.close()
            server.should_exit = True
            await task


async def serve(options: SandboxOptions) -> None:
    """Print the URL and serve until cancelled."""
    async with running(options) as sandbox:
        sys.stdout.write(f"sandbox Strava on {sandbox.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def run(options: SandboxOptions | None = None) -> None:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options or SandboxOptions()))


class _Server(uvicorn.Server):
    """A server that leaves signal handling to the program that embeds the sandbox."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _until_started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the sandbox's server ended before it was ready")
        await asyncio.sleep(0.005)
