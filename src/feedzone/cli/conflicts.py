"""conflicts list|accept|dismiss: decisions that reconciliation leaves to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import console

if TYPE_CHECKING:
    from ..app import App

app = typer.Typer(help="Decide on missing activities.", no_args_is_help=True)

ConflictId = Annotated[str, typer.Argument(metavar="CONFLICT", help="An id of `conflicts list`.")]


@app.command("list")
def list_() -> None:
    """List conflicts: Strava lists far fewer activities than are stored."""

    async def command(parts: App) -> None:
        conflicts = await parts.queries.conflicts.open()
        for conflict in conflicts:
            console.say(f"  athlete {conflict.athlete_id}", lead=conflict.id)
            console.say(f"    Strava lists {len(conflict.missing)} of {conflict.held} activities no longer.")
        if conflicts:
            console.say("accept: check each at Strava, and delete those that are gone.")
            console.say("dismiss: keep all for now.")
        else:
            console.say("No open conflicts.")

    console.run(command)


@app.command()
def accept(conflict: ConflictId) -> None:
    """Check each missing activity at Strava, and delete those that are gone."""

    async def command(parts: App) -> None:
        count = await parts.reconciliation.resolve(conflict, accept=True)
        console.say(f"{count} activities will be checked at Strava.")

    console.run(command)


@app.command()
def dismiss(conflict: ConflictId) -> None:
    """Keep the activities for now; a later reconciliation may ask again."""

    async def command(parts: App) -> None:
        await parts.reconciliation.resolve(conflict, accept=False)
        console.say("Kept.")

    console.run(command)
