"""export: an athlete's data as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .athletes import AthleteId
from .console import out

if TYPE_CHECKING:
    from ..app import App


def export(
    athlete: AthleteId,
    to: Annotated[Path, typer.Option(help="A folder; it is created.")] = Path("export"),
) -> None:
    """Write an athlete's activities: <id>.json as received from Strava, and <id>.parquet with the streams.

    Bikes and shoes are in gear.json, what changed in changes.jsonl, what is what in about.txt.
    """

    async def command(parts: App) -> tuple[int, int]:
        begun: set[str] = set()
        async for name, content in parts.queries.export.pieces(athlete):
            if name not in begun:
                to.mkdir(parents=True, exist_ok=True)
            with (to / Path(name).name).open("ab" if name in begun else "wb") as file:
                file.write(content)
            begun.add(name)
        folders = [name.partition("/")[0] for name in begun]
        return folders.count("activities"), folders.count("streams")

    activities, streams = console.run(command)
    out.print(f"{activities} activities and {streams} streams are in {to}/")
