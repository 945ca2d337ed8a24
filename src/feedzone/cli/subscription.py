"""subscription ensure|show|delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import console

if TYPE_CHECKING:
    from ..app import App

app = typer.Typer(help="The push subscription, through which Strava sends events.", no_args_is_help=True)


@app.command()
def ensure(
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a subscription with another callback URL.")
    ] = False,
) -> None:
    """Create the subscription if it is missing. feedzone must be running to answer Strava."""

    from ..services.subscription import shown_url

    async def command(parts: App) -> None:
        subscription, created = await parts.subscription.ensure(replace=replace)
        verb = "created" if created else "kept"
        console.say(f"Subscription {subscription.id} {verb}: {shown_url(parts.settings.callback_url)}")

    console.run(command, strava=True)


@app.command()
def show() -> None:
    """Show the subscriptions at Strava."""
    from ..services.subscription import shown_url

    async def command(parts: App) -> None:
        listed = await parts.subscription.show()
        for existing in listed:
            whose = "ours" if existing.callback_url == parts.settings.callback_url else "not ours"
            url = shown_url(existing.callback_url)
            console.say(f"{existing.id}  {url}  ({whose}, since {existing.created_at})")
        if not listed:
            console.say("No subscription. Create it with `feedzone subscription ensure`.")

    console.run(command, strava=True)


@app.command()
def delete() -> None:
    """Delete the subscription: Strava stops sending events, and feedzone polls instead."""

    async def command(parts: App) -> None:
        deleted = await parts.subscription.delete()
        console.say(f"Subscription {deleted.id} is deleted." if deleted else "There was no subscription.")

    console.run(command, strava=True)
