"""athletes list|show|connect-url|disconnect|sports|verify, and sync."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..domain.wording import count, duration
from ..errors import InvalidInput, NotFound
from . import console
from .budget import day_and_time, to_go
from .console import out

if TYPE_CHECKING:
    from datetime import datetime

    from ..app import App
    from ..queries.athletes import Athlete
    from ..queries.jobs import Wait

app = typer.Typer(help="List, connect and disconnect athletes.", no_args_is_help=True)

AthleteId = Annotated[int, typer.Argument(metavar="ATHLETE", help="The athlete's Strava id.")]


@app.command("list")
def list_(
    idle: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=36_500,
            metavar="DAYS",
            help="Only athletes without events and activities for DAYS, longest idle first.",
        ),
    ] = None,
) -> None:
    """List the athletes and the state of their connection and sync."""

    async def command(parts: App) -> None:
        athletes = await _all(parts, idle)
        if idle is not None:
            athletes.sort(key=lambda athlete: athlete.idle_since)
        if athletes:
            _show(athletes, parts.clock.now(), idle=idle is not None)
        elif idle is not None:
            console.say(f"No athlete has been idle for {count(idle, 'day')}.")
        else:
            console.say(f"No athletes yet. Open {parts.settings.app_url}/connect")

    console.run(command)


@app.command()
def show(athlete: AthleteId) -> None:
    """Show one athlete: the state of the connection, the sync, and the deadline of a departure."""

    async def command(parts: App) -> None:
        one = await parts.queries.athletes.get(athlete)
        _show([one], parts.clock.now(), idle=False)
        if one.status_reason:
            console.say(f"{one.status}: {one.status_reason}")

    console.run(command)


async def _all(parts: App, idle_days: int | None) -> list[Athlete]:
    """Return all athletes, read page by page."""
    from ..queries.athletes import AthleteFilter

    athletes: list[Athlete] = []
    where, cursor = AthleteFilter(idle_days), None
    while True:
        page = await parts.queries.athletes.page(200, cursor, where)
        athletes += page.items
        cursor = page.next_cursor
        if cursor is None:
            return athletes


def _show(athletes: list[Athlete], now: datetime, *, idle: bool) -> None:
    """Print a table that fits 80 columns: one date for idle athletes, else the age of the last events."""
    dates = ["idle since"] if idle else ["last event", "last sync"]
    whole = ["athlete", "status", "backfill", "stored", *dates]
    rows = []
    for athlete in athletes:
        progress = athlete.progress
        ages = (_ago(athlete.last_event_at, now), _ago(athlete.last_synced_at, now))
        row = (
            str(athlete.id),
            athlete.name,
            f"{athlete.status}, quiet" if athlete.quiet else athlete.status,
            "complete" if progress.completed else f"{progress.done}/{progress.found}",
            str(athlete.sync.activities_done),
            *([f"{athlete.idle_since:%Y-%m-%d}"] if idle else ages),
        )
        rows.append(row)
    console.show_table(["athlete", "name", "status", "backfill", "stored", *dates], rows, whole=whole)
    for athlete in athletes:
        if athlete.sync.calls_needed:
            console.say(f"{console.plain(athlete.name)}: {to_go(athlete.sync, now)}")
        if athlete.leaves_at is not None:
            console.say(
                f"{console.plain(athlete.name)}: all data is deleted at {athlete.leaves_at:%Y-%m-%d %H:%M} "
                "UTC unless the athlete connects again."
            )
    if any(athlete.quiet for athlete in athletes):
        console.say("quiet: activities arrive without events; connect again with all boxes ticked.")


def _ago(at: datetime | None, now: datetime) -> str:
    return "-" if at is None else f"{duration((now - at).total_seconds())} ago"


@app.command("connect-url")
def connect_url() -> None:
    """Print the link that connects an athlete."""
    console.say(f"{console.settings(quiet=True, strava=True).app_url}/connect")


@app.command()
def disconnect(
    athlete: AthleteId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete an athlete's tokens and data, and revoke our access at Strava."""
    if not yes:
        typer.confirm(f"Delete athlete {athlete} with all activities, streams and tokens?", abort=True)

    async def command(parts: App) -> None:
        from ..app import working

        await parts.athletes.disconnect(athlete)
        console.say(f"Athlete {athlete} is gone from this database.")
        async with working(parts):
            receipt = await _revoked(parts, athlete, patience_s=15)
        if receipt:
            console.say(f"Strava: {receipt}.")
        else:
            console.say("Access at Strava is not revoked yet; a running feedzone retries it.")

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
        str | None, typer.Option(help="Fetch details and streams only of these: Ride,TrailRun.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch all sports fully again.")] = False,
) -> None:
    """Show or choose the sports that are fetched fully; others are stored as summaries."""
    if only is not None and everything:
        raise InvalidInput("choose one of --only and --all")

    async def command(parts: App) -> None:
        if only is not None or everything:
            await parts.athletes.keep_sports(athlete, None if only is None else only.split(","))
        chosen = (await parts.queries.athletes.get(athlete)).wanted_sports
        console.say("All sports." if chosen is None else f"Only {', '.join(chosen)}.")

    console.run(command)


@app.command()
def verify(athlete: AthleteId) -> None:
    """Reconcile an athlete with Strava now; a running feedzone does it."""

    async def command(parts: App) -> None:
        await parts.reconciliation.reconcile(athlete)
        console.say("Queued.")

    console.run(command)


def sync(
    athlete: AthleteId,
    days: Annotated[int | None, typer.Option(min=1, help="How far back; default INITIAL_SYNC_DAYS.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Sync the athlete's full history.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Queue it and return.")] = False,
) -> None:
    """Sync an athlete's activities, and show progress."""
    if days is not None and everything:
        raise InvalidInput("choose one of --days and --all")

    async def command(parts: App) -> None:
        from ..app import working

        await parts.athletes.sync(athlete, days=days, everything=everything)
        if no_wait:
            console.say("Queued.")
            sync = (await parts.queries.athletes.get(athlete)).sync
            console.say(f"{to_go(sync, parts.clock.now())}.")
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
        last_reason = ""
        while True:
            athlete, wait = (
                await parts.queries.athletes.get(athlete_id),
                await parts.queries.jobs.wait_of(athlete_id),
            )
            if wait is not None and wait.reason != last_reason:
                last_reason = wait.reason
                console.say(f"Waiting: {last_reason}")
            if athlete.status == "deauthorized":
                raise NotFound(f"athlete {athlete_id} is no longer connected")
            progress = athlete.progress
            # Activities that were synced before count, too.
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
    console.say(f"{progress.done} of {total} activities are up to date{failed}.")
    if athlete.status != "active":
        console.say(f"The athlete's status is {athlete.status}: {athlete.status_reason}")
        raise typer.Exit(1)
