"""events list|show|retry|discard: webhook events and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..domain.event import EventStatus
from ..errors import InvalidInput
from . import console

if TYPE_CHECKING:
    from ..app import App

app = typer.Typer(help="Webhook events and dead letters.", no_args_is_help=True)


@app.command("list")
def list_(
    failed: Annotated[bool, typer.Option("--failed", help="List dead letters, with reasons.")] = False,
    status: Annotated[EventStatus | None, typer.Option(help="Only events with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
) -> None:
    """List events, newest first; or dead letters with --failed."""

    async def command(parts: App) -> None:
        await (_list_dead(parts, limit) if failed else _list_events(parts, status, limit))

    console.run(command)


async def _list_events(parts: App, status: EventStatus | None, limit: int) -> None:
    page = await parts.queries.events.page(status=status, limit=limit)
    rows = [
        (
            f"{event.created_at:%Y-%m-%d %H:%M:%S}",
            f"{event.object_type} {event.object_id} {event.aspect_type}",
            str(event.owner_id),
            event.status,
            str(event.attempts),
            event.error_message or "",
        )
        for event in page.items
    ]
    if rows:
        console.show_table(("received", "event", "athlete", "status", "attempts", "note"), rows)
    else:
        console.say("No such events.")


async def _list_dead(parts: App, limit: int) -> None:
    """Print lines instead of a table: ids must fit a narrow terminal, and reasons are long."""
    page = await parts.queries.jobs.page(state="dead", limit=limit)
    for job in page.items:
        text = f"{job.kind} {job.key}, athlete {job.athlete_id}, {job.attempts} attempts"
        console.say(f"  class {job.error_class or '-'}", lead=job.id)
        console.say(f"    {text}")
        console.say(f"    {job.last_error or ''}")
    if not page.items:
        console.say("No dead letters.")


@app.command()
def retry(
    job: Annotated[str | None, typer.Argument(help="An id from `events list --failed`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    error_class: Annotated[
        str | None, typer.Option("--class", help="All dead letters of this error class.")
    ] = None,
) -> None:
    """Run dead letters again, with a new set of attempts."""
    if [job is not None, every, error_class is not None].count(True) != 1:
        raise InvalidInput("takes one job, --all or --class")

    async def command(parts: App) -> None:
        if job is None:
            console.say(f"{await parts.dead_letters.retry_all(error_class)} jobs will run again.")
        else:
            await parts.dead_letters.retry(job)
            console.say("The job will run again.")

    console.run(command)


@app.command()
def show(job: Annotated[str, typer.Argument(help="An id from `events list --failed`.")]) -> None:
    """Show a job with all its failed attempts."""

    async def command(parts: App) -> None:
        story = await parts.queries.jobs.get(job)
        console.say(f"{story.job.kind} {story.job.key}, athlete {story.job.athlete_id}: {story.job.state}")
        for attempt in story.attempts:
            head = (
                f"{attempt.ended_at:%Y-%m-%d %H:%M:%S} UTC  attempt {attempt.attempt}  {attempt.error_class}"
            )
            console.say(head)
            console.say(f"    {attempt.error}")

    console.run(command)


@app.command()
def discard(
    job: Annotated[str, typer.Argument(help="An id from `events list --failed`.")],
    reason: Annotated[str, typer.Option(help="Why; stored with the events.")],
) -> None:
    """Discard a dead letter for good."""

    async def command(parts: App) -> None:
        await parts.dead_letters.discard(job, reason)
        console.say("Discarded.")

    console.run(command)
