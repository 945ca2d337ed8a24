"""All commands, and how their errors end."""

from __future__ import annotations

import os
import sys

import typer

from ..errors import FeedzoneError, SettingsError
from . import athletes, budget, conflicts, events, export, maintenance, serving, subscription
from .console import complain, say

app = typer.Typer(
    name="feedzone",
    help="Sync Strava activities into your own database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(maintenance.init)
app.command("serve")(serving.serve)
app.command("work")(serving.work)
app.command("demo")(serving.demo)
app.command("sandbox")(serving.sandbox)
app.command("doctor")(maintenance.doctor)
app.command("budget")(budget.budget)
app.command("sync")(athletes.sync)
app.command("export")(export.export)
app.add_typer(athletes.app, name="athletes")
app.add_typer(subscription.app, name="subscription")
app.add_typer(events.app, name="events")
app.add_typer(conflicts.app, name="conflicts")
app.add_typer(maintenance.db, name="db")
app.add_typer(maintenance.keys, name="keys")


@app.command("version")
def version() -> None:
    """Print the version."""
    from .. import __version__

    say(f"feedzone {__version__}")


def main() -> None:
    """Run the command line; an expected error is one line and exit code 1 (settings: 2)."""
    # New files contain tokens and athletes' data: only the user that runs feedzone may read them.
    os.umask(0o077)
    try:
        app()
    except SettingsError as problem:
        complain(str(problem))
        sys.exit(2)
    except FeedzoneError as problem:
        complain(str(problem))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
