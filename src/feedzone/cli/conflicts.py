"""conflicts list|accept|dismiss: what feedzone did not dare to decide alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .console import out

if TYPE_CHECKING:
    from ..app import App

app = typer.Typer(help="Questions that a person decides.", no_args_is_help=True)

ConflictId = Annotated[str, typer.Argument(metavar="CONFLICT", help="An id of `conflicts list`.")]


@app.command("list")
def list_() -> None:
    """List open questions: Strava lists far fewer activities than are held here."""

    async def command(parts: App) -> None:
        found = await parts.queries.conflicts.open()
        for one in found:
            gone = f"Strava no longer lists {len(one.missing)} of {one.held} activities"
            out.print(f"[bold]{one.id}[/]  athlete {one.athlete_id}: {gone}", soft_wrap=True)
        if found:
            out.print("accept: ask Strava for each, and let go what it denies; dismiss: keep them for now.")
        else:
            out.print("No open questions.")

    console.run(command)


@app.command()
def accept(conflict: ConflictId) -> None:
    """Ask Strava for each missing activity, and let go what it denies."""

    async def command(parts: App) -> None:
        asked = await parts.reconciliation.resolve(conflict, accept=True)
        out.print(f"{asked} activities will be asked for.")

    console.run(command)


@app.command()
def dismiss(conflict: ConflictId) -> None:
    """Keep the activities for now; a later comparison may ask again."""

    async def command(parts: App) -> None:
        await parts.reconciliation.resolve(conflict, accept=False)
        out.print("Kept.")

    console.run(command)
