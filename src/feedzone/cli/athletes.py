"""athletes list|connect-url|disconnect, and sync."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..errors import InvalidInput, NotFound
from . import console
from .budget import day_and_time, to_go
from .console import out

if TYPE_CHECKING:
    from datetime import datetime

    from ..app import App
    from ..queries.athletes import Athlete
    from ..queries.jobs import Wait

app = typer.Typer(help="The connected athletes.", no_args_is_help=True)

AthleteId = Annotated[int, typer.Argument(metavar="ATHLETE", help="The athlete's Strava id.")]


@app.command("list")
def list_(
    idle: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=36_500,
            metavar="DAYS",
            help="Only of whom nothing has come for so many days, the longest idle first.",
        ),
    ] = None,
) -> None:
    """List the athletes and the state of their connection and sync."""

    async def command(parts: App) -> None:
        people = await _people(parts, idle)
        if idle is not None:
            people.sort(key=lambda one: one.idle_since)
        if people:
            _show(people, parts.clock.now(), idle=idle is not None)
        elif idle is not None:
            out.print(f"Nobody has been idle for {idle} {'day' if idle == 1 else 'days'}.")
        else:
            out.print(f"Nobody is connected yet. Open {parts.settings.app_url}/connect")

    console.run(command)


async def _people(parts: App, idle_days: int | None) -> list[Athlete]:
    """All of them, page by page."""
    from ..queries.athletes import AthleteFilter

    found: list[Athlete] = []
    which, cursor = AthleteFilter(idle_days), None
    while True:
        page = await parts.queries.athletes.page(200, cursor, which)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def _show(people: list[Athlete], now: datetime, *, idle: bool) -> None:
    table = Table("athlete", "name", "status", "first sync", "activities", box=None)
    for head in ("last event", "last synced", *(["idle since"] if idle else [])):
        table.add_column(head)
    for one in people:
        progress = one.progress
        table.add_row(
            str(one.id),
            one.name or "-",
            f"{one.status}, quiet" if one.quiet else one.status,
            "complete" if progress.completed else f"{progress.done}/{progress.found}",
            str(one.sync.activities_done),
            _time(one.last_event_at),
            _time(one.last_synced_at),
            *([f"{one.idle_since:%Y-%m-%d}"] if idle else []),
        )
    out.print(table)
    for one in people:
        if one.sync.calls_needed:
            out.print(f"{one.name}: {to_go(one.sync, now)}", soft_wrap=True)
    if any(one.quiet for one in people):
        out.print(
            "quiet: activities keep coming that no event told of; the athlete may connect again with all "
            "boxes ticked.",
            soft_wrap=True,
        )


def _time(value: object) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


@app.command("connect-url")
def connect_url() -> None:
    """Print the address that an athlete opens to connect."""
    out.print(f"{console.settings(quiet=True, strava=True).app_url}/connect", soft_wrap=True)


@app.command()
def disconnect(
    athlete: AthleteId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an athlete: tokens and data here at once, and our access at Strava."""
    if not yes:
        typer.confirm(
            f"Remove athlete {athlete} with all activities, streams and tokens? A receipt stays.", abort=True
        )

    async def command(parts: App) -> None:
        from ..app import working

        await parts.athletes.disconnect(athlete)
        out.print(f"Athlete {athlete} is gone from this database.")
        async with working(parts):
            receipt = await _revoked(parts, athlete, patience_s=15)
        if receipt:
            out.print(f"Strava: {receipt}.")
        else:
            out.print("Strava could not be told yet; a running feedzone will go on trying.")

    console.run(command, strava=True)


async def _revoked(parts: App, athlete_id: int, patience_s: float) -> str | None:
    for _ in range(int(patience_s / 0.1)):
        receipts = await parts.queries.athletes.receipts(athlete_id)
        if receipts and receipts[0].revoke_detail:
            return receipts[0].revoke_detail
        await asyncio.sleep(0.1)
    return None


@app.command()
def sports(
    athlete: AthleteId,
    only: Annotated[
        str | None, typer.Option(help="Fetch details and streams of these alone: Ride,TrailRun.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all sports again.")] = False,
) -> None:
    """Which sports of an athlete are fetched whole; of the others the summary is all that is kept."""
    if only is not None and everything:
        raise InvalidInput("choose one of --only and --all")

    async def command(parts: App) -> None:
        if only is not None or everything:
            await parts.athletes.keep_sports(athlete, None if only is None else only.split(","))
        wanted = (await parts.queries.athletes.get(athlete)).wanted_sports
        out.print("All sports." if wanted is None else f"Only {', '.join(wanted)}.")

    console.run(command)


@app.command()
def verify(athlete: AthleteId) -> None:
    """Compare all that is held of an athlete now, and fetch what differs; a running feedzone does it."""

    async def command(parts: App) -> None:
        await parts.reconciliation.verify(athlete)
        out.print("Queued.")

    console.run(command)


def sync(
    athlete: AthleteId,
    days: Annotated[int | None, typer.Option(min=1, help="How far back; default INITIAL_SYNC_DAYS.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The athlete's whole history.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Let a running feedzone do it.")] = False,
) -> None:
    """Bring an athlete's activities up to date, and show the progress."""
    if days is not None and everything:
        raise InvalidInput("choose one of --days and --all")

    async def command(parts: App) -> None:
        from ..app import working

        await parts.athletes.sync(athlete, days=days, everything=everything)
        if no_wait:
            out.print("Queued.")
            now = await parts.queries.athletes.get(athlete)
            out.print(f"{to_go(now.sync, parts.clock.now())}.")
            return
        async with working(parts):
            await _show_progress(parts, athlete)

    console.run(command, strava=True)


def _doing(athlete: Athlete, wait: Wait | None, now: datetime) -> str:
    if wait is not None:
        return f"waiting until {wait.until:%H:%M:%S} UTC"
    if not athlete.progress.listed:
        return "listing"
    sync = athlete.sync
    return f"fetching, done {day_and_time(sync.done_at, now)}" if sync.done_at else "fetching"


async def _show_progress(parts: App, athlete_id: int) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("listing", total=None)
        said = ""
        while True:
            athlete, wait = (
                await parts.queries.athletes.get(athlete_id),
                await parts.queries.jobs.wait_of(athlete_id),
            )
            if wait is not None and wait.reason != said:
                said = wait.reason
                bar.console.print(f"Waiting: {said}", markup=False, soft_wrap=True)
            if athlete.status == "deauthorized":
                raise NotFound(f"athlete {athlete_id} is no longer connected")
            progress = athlete.progress
            # What was synced before counts, too.
            total = max(progress.found, progress.done + progress.failed + progress.pending)
            bar.update(
                task,
                description=_doing(athlete, wait, parts.clock.now()),
                completed=progress.done + progress.failed,
                total=total or None,
            )
            if progress.completed or athlete.status != "active":
                break
            await asyncio.sleep(0.2)
    failed = f", {progress.failed} failed (see `feedzone events list --failed`)" if progress.failed else ""
    out.print(f"{progress.done} of {total} activities are up to date{failed}.")
    if athlete.status != "active":
        out.print(f"The athlete's connection is {athlete.status}: {athlete.status_reason}")
        raise typer.Exit(1)
