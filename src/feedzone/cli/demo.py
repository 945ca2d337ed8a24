"""The demo: a sandbox Strava, feedzone, and athletes that connect over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from ..app import App, build, prepare_database, stop_signals, working
from ..errors import FeedzoneError, SettingsError
from ..sandbox import Limits, RunningSandbox, SandboxOptions, running
from ..serve import front_door
from ..settings import Settings
from ..telemetry import configure_logging
from ..web.app import end_streams
from ..web.server import Server, bind

HOME = Path(".demo")
CLIENT_ID, CLIENT_SECRET = "12345", "sandbox-secret"


@dataclass(frozen=True)
class DemoOptions:
    port: int
    sandbox_port: int
    seed: int
    athletes: int
    pace: float
    """Uploads, edits and deletes per hour, in total."""


async def run_demo(options: DemoOptions, out: Console) -> None:
    """Run until Ctrl-C. Raises SettingsError when a port is in use."""
    stop = stop_signals()
    world = SandboxOptions(
        port=options.sandbox_port,
        seed=options.seed,
        athletes=options.athletes,
        history_days=120,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        # A demo must not wait for the next 15-minute window.
        limits=Limits(2000, 40_000, 1000, 20_000),
        actions_per_hour=options.pace,
    )
    listener = bind("127.0.0.1", options.port)
    bind("127.0.0.1", options.sandbox_port).close()
    settings = _settings(options)
    _forget_last_time(settings.feedzone_home)
    configure_logging("WARNING", "console", settings.secrets())
    await asyncio.to_thread(prepare_database, settings)
    app = build(settings)
    door = front_door(app)
    server = Server(door)
    try:
        async with running(world) as sandbox, working(app):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            showing = asyncio.create_task(_show(app, sandbox, out, stop))
            await stop.wait()
            showing.cancel()
            end_streams(door.site)
            server.should_exit = True
            await asyncio.wait([serving, showing])
            if not showing.cancelled() and (problem := showing.exception()):
                raise problem
    finally:
        await app.close()
    out.print("Stopped.")


def _settings(options: DemoOptions) -> Settings:
    base = f"http://127.0.0.1:{options.sandbox_port}"
    values: dict[str, Any] = {
        "_env_file": None,
        "strava_client_id": CLIENT_ID,
        "strava_client_secret": CLIENT_SECRET,
        "strava_api_base_url": f"{base}/api/v3",
        "strava_oauth_base_url": f"{base}/oauth",
        "app_url": f"http://127.0.0.1:{options.port}",
        "feedzone_home": HOME,
        "database_url": f"sqlite:///{HOME / 'feedzone.db'}",
        "token_encryption_keys": "",
        "admin_password": "",
        "api_key": "demo",
        "webhook_secret": "",
        "webhook_path_secret": "",
        "webhook_signature": "auto",
    }
    return Settings(**values)


def _forget_last_time(home: Path) -> None:
    """Delete the demo's database: the sandbox starts from scratch each time, too."""
    for name in ("feedzone.db", "feedzone.db-wal", "feedzone.db-shm"):
        (home / name).unlink(missing_ok=True)


async def _show(app: App, sandbox: RunningSandbox, out: Console, stop: asyncio.Event) -> None:
    try:
        await _connect_everyone(app, sandbox, out)
        await _follow(app, out)
    except (FeedzoneError, aiohttp.ClientError):
        stop.set()
        raise


async def _connect_everyone(app: App, sandbox: RunningSandbox, out: Console) -> None:
    url = app.settings.app_url
    out.print(f"[bold]feedzone[/]: [bold]{url}[/]   (sandbox Strava: {sandbox.url})")
    await _answering(f"{url}/healthz")
    subscription, _ = await app.subscription.ensure()
    out.print(f"Subscription {subscription.id}: {app.settings.callback_url}")
    for athlete_id in sandbox.world.athletes:
        await _consent(url, athlete_id)
        out.print(f"Athlete {athlete_id} connected; syncing {app.settings.initial_sync_days} days.")


async def _answering(url: str) -> None:
    async with aiohttp.ClientSession() as browser:
        for _ in range(100):
            with contextlib.suppress(aiohttp.ClientError):
                async with browser.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise SettingsError(f"the server does not answer at {url}")


async def _consent(app_url: str, athlete_id: int) -> None:
    """Do what an athlete does in a browser: follow our link, agree at Strava, come back."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(f"{app_url}/connect", allow_redirects=False) as leaving:
            consent = leaving.headers["Location"]
        async with browser.get(f"{consent}&sandbox_athlete={athlete_id}") as back:
            text = re.sub(r"<[^>]+>", " ", await back.text())
            if back.status != 200:
                raise FeedzoneError(
                    f"athlete {athlete_id} could not be connected: {' '.join(text.split())[:300]}"
                )


async def _follow(app: App, out: Console) -> None:
    """Print a line whenever the totals have changed."""
    started, last = time.monotonic(), ""
    out.print("An event arrives every few seconds. Stop with Ctrl-C.\n")
    while True:
        status = await app.queries.status.get()
        stored = await app.queries.activities.stored_totals()
        done = status.events.get("completed", 0)
        line = f"{stored.activities} activities, {stored.streams} with streams; {done} events completed"
        if line != last:
            out.print(f"{time.monotonic() - started:6.1f} s  {line}")
            last = line
        await asyncio.sleep(1)
