"""export: an athlete's data as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .athletes import AthleteId

if TYPE_CHECKING:
    from ..app import App


def export(
    athlete: AthleteId,
    to: Annotated[Path, typer.Option(help="The folder; created if missing.")] = Path("export"),
) -> None:
    """Write an athlete's activities as JSON, and their streams as Parquet.

    gear.json has bikes and shoes, changes.jsonl the audit trail; about.txt explains all files.
    """

    async def command(parts: App) -> tuple[int, int]:
        started: set[str] = set()
        async for name, content in parts.queries.export.pieces(athlete):
            if name not in started:
                to.mkdir(parents=True, exist_ok=True)
            with (to / Path(name).name).open("ab" if name in started else "wb") as file:
                file.write(content)
            started.add(name)
        folders = [name.partition("/")[0] for name in started]
        return folders.count("activities"), folders.count("streams")

    activities, streams = console.run(command)
    console.say(f"Wrote {activities} activities and {streams} streams to {to}/")
