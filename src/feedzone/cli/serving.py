"""serve, work, demo, sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from . import console
from .console import out

Port = Annotated[int, typer.Option(min=1, max=65535)]


def _run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop; None, which means asyncio's own, where uvloop does not exist, as on Windows."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Do not run jobs; `feedzone work` does.")
    ] = False,
) -> None:
    """Run the server: webhook, pages, API and jobs."""
    from ..app import prepare_database
    from ..serve import serve as serve_app

    settings = console.settings()
    prepare_database(settings)
    _run(serve_app(settings, host, port, worker=not no_worker))


def work() -> None:
    """Run jobs without a web server; on PostgreSQL in any number of processes."""
    from ..app import prepare_database
    from ..app import work as work_app

    settings = console.settings(strava=True)
    prepare_database(settings)
    _run(work_app(settings))


def demo(
    port: Port = 8000,
    sandbox_port: Port = 8001,
    seed: Annotated[int, typer.Option(help="The same seed gives the same athletes.")] = 1,
    athletes: Annotated[int, typer.Option(min=1, max=50)] = 3,
    pace: Annotated[float, typer.Option(help="Uploads, edits and deletes per hour, in total.")] = 360.0,
) -> None:
    """Run feedzone with a sandbox Strava: no configuration needed."""
    from .demo import DemoOptions, run_demo

    _run(run_demo(DemoOptions(port, sandbox_port, seed, athletes, pace), out))


def sandbox(
    host: str = "127.0.0.1",
    port: Port = 8001,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 1,
    athletes: Annotated[int, typer.Option(min=0, max=1000)] = 5,
    history_days: Annotated[int, typer.Option(min=0)] = 365,
    pace: Annotated[float, typer.Option(help="Uploads, edits and deletes per hour; 0: only your own.")] = 0.0,
    client_id: str = "12345",
    client_secret: str = "sandbox-secret",  # noqa: S107  (of a fake, and public)
    signing_secret: Annotated[str, typer.Option(help="Sign deliveries with this key.")] = "",
    read_limits: Annotated[str, typer.Option(help="Read limits per 15 minutes and per day.")] = "100,1000",
) -> None:
    """Run a sandbox Strava: consent page, API, limits, webhooks, and a control page."""
    from ..sandbox import Limits, SandboxOptions
    from ..sandbox import serve as serve_sandbox

    try:
        short, daily = (int(part) for part in read_limits.split(","))
    except ValueError:
        raise typer.BadParameter("takes two whole numbers: 100,1000", param_hint="--read-limits") from None
    options = SandboxOptions(
        host=host,
        port=port,
        seed=seed,
        athletes=athletes,
        history_days=history_days,
        client_id=client_id,
        client_secret=client_secret,
        signing_secret=signing_secret or None,
        limits=Limits(short * 2, daily * 2, short, daily),
        actions_per_hour=pace,
    )
    _run(serve_sandbox(options))
