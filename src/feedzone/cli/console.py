"""What every command shares: settings, an app, output, and errors as one line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.console import Console

from ..app import App, build, prepare_database
from ..settings import Settings, load_settings
from ..telemetry import Redactor, configure_logging

T = TypeVar("T")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def settings(*, quiet: bool = False, strava: bool = False) -> Settings:
    """Read the settings and set up logging; `quiet` commands log warnings only, they print instead."""
    loaded = load_settings()
    if strava:
        loaded.require_strava()
    level = "WARNING" if quiet and loaded.log_level == "INFO" else loaded.log_level
    configure_logging(level, loaded.log_format, loaded.secrets())
    return loaded


def run(command: Callable[[App], Awaitable[T]], *, strava: bool = False) -> T:
    """Build the app, run one command with it, close it."""
    loaded = settings(quiet=True, strava=strava)
    prepare_database(loaded)

    async def body() -> T:
        app = build(loaded)
        try:
            return await command(app)
        finally:
            await app.close()

    return asyncio.run(body())


def complain(message: str, secrets: list[str] | None = None) -> None:
    """One line on standard error, without secrets."""
    err.print(f"feedzone: {Redactor(secrets or []).text(message)}", markup=False, style="red", soft_wrap=True)
