"""export: an athlete's data as plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..app import App
from . import console
from .athletes import AthleteId
from .console import out


def export(
    athlete: AthleteId,
    to: Annotated[Path, typer.Option(help="A folder; it is created.")] = Path("export"),
) -> None:
    """Write an athlete's activities: <id>.json as received from Strava, and <id>.parquet with the streams.

    Bikes and shoes are in gear.json.
    """

    async def command(parts: App) -> tuple[int, int]:
        await parts.insights.athlete(athlete)  # raises NotFound
        to.mkdir(parents=True, exist_ok=True)
        gear = await parts.insights.gear(athlete)
        (to / "gear.json").write_bytes(msgspec.json.encode(gear.items))
        activities = streams = 0
        async for activity_id, document, blob in parts.insights.export(athlete):
            (to / f"{activity_id}.json").write_text(document, encoding="utf-8")
            activities += 1
            if blob is not None:
                (to / f"{activity_id}.parquet").write_bytes(blob)
                streams += 1
        return activities, streams

    activities, streams = console.run(command)
    out.print(f"{activities} activities and {streams} streams are in {to}/")
