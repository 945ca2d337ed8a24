"""subscription ensure|show|delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .console import out

if TYPE_CHECKING:
    from ..app import App

app = typer.Typer(help="The push subscription: how Strava reaches us.", no_args_is_help=True)


@app.command()
def ensure(
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the subscription over from another callback URL.")
    ] = False,
) -> None:
    """Keep the subscription whose URL is ours, or create it. feedzone must be running to answer Strava."""

    async def command(parts: App) -> None:
        subscription, created = await parts.subscription.ensure(replace=replace)
        verb = "created" if created else "kept"
        console.say(f"Subscription {subscription.id} {verb}: {parts.settings.callback_url}")

    console.run(command, strava=True)


@app.command()
def show() -> None:
    """Show what Strava has."""

    async def command(parts: App) -> None:
        listed = await parts.subscription.show()
        for existing in listed:
            whose = "ours" if existing.callback_url == parts.settings.callback_url else "not ours"
            console.say(f"{existing.id}  {existing.callback_url}  ({whose}, since {existing.created_at})")
        if not listed:
            out.print(
                "Strava has no subscription of this application: `feedzone subscription ensure` creates it."
            )

    console.run(command, strava=True)


@app.command()
def delete() -> None:
    """Delete our subscription. No more events come; nothing else changes."""

    async def command(parts: App) -> None:
        gone = await parts.subscription.delete()
        out.print(f"Subscription {gone.id} is deleted." if gone else "There was none.")

    console.run(command, strava=True)
