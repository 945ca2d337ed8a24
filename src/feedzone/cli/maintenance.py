"""init, doctor, db upgrade|check|restored, keys new|rotate."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..domain.wording import count
from . import console

if TYPE_CHECKING:
    from ..app import App
    from ..services.doctor import Finding
    from ..store.engine.database import Database

T = TypeVar("T")

REFRESHES_WITHIN_S = 60.0
"""How long `db restored` waits for the comparisons, each of which refreshes its athlete's tokens."""
PAUSE_S = 0.2

db = typer.Typer(help="Upgrade and check the database; act on a restored backup.", no_args_is_help=True)
keys = typer.Typer(help="Create and rotate the keys that encrypt tokens.", no_args_is_help=True)

ENV_FILE = """\
# Settings of feedzone. All others are explained in .env.template.

# From https://www.strava.com/settings/api
STRAVA_CLIENT_ID=
STRAVA_CLIENT_SECRET=

# The public https address of this server, for athletes and Strava.
# Strava's "Authorization Callback Domain" is its host name alone.
APP_URL=http://127.0.0.1:8000

# Generated for this installation. Keep TOKEN_ENCRYPTION_KEYS: stored tokens
# cannot be read without it.
TOKEN_ENCRYPTION_KEYS={key}
STRAVA_VERIFY_TOKEN={verify}
WEBHOOK_PATH_SECRET={path}
ADMIN_PASSWORD={password}
API_KEY={api_key}
"""


def init(
    file: Annotated[Path, typer.Option(help="The file to write.")] = Path(".env"),
) -> None:
    """Write a .env file with generated secrets; never change an existing file."""
    from ..vault import new_key

    text = ENV_FILE.format(
        key=new_key(),
        verify=secrets.token_urlsafe(24),
        path=secrets.token_urlsafe(18),
        password=secrets.token_urlsafe(12),
        api_key=secrets.token_urlsafe(24),
    )
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        console.complain(f"{file} exists already; nothing was changed")
        raise typer.Exit(1) from None
    with os.fdopen(handle, "w", encoding="utf-8") as env:
        env.write(text)
    console.say(f"Wrote {file}. Set STRAVA_CLIENT_ID, STRAVA_CLIENT_SECRET and APP_URL, then run:")
    console.say(
        "  feedzone serve\n  feedzone subscription ensure      (in another terminal)\n  feedzone doctor"
    )


def doctor() -> None:
    """Check the setup and suggest fixes."""
    from ..services.doctor import examine

    async def command(app: App) -> list[Finding]:
        return await examine(app.subscription, app.queries.status, app.transport, app.settings.app_url)

    findings = console.run(command, strava=True)
    for finding in findings:
        mark, colour = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}[
            finding.verdict
        ]
        console.say(f"  {finding.text}", lead=mark, style=colour)
        if finding.remedy:
            console.say(f"      {finding.remedy}")
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(1)


def _database() -> Database:
    from ..store.engine.database import open_database

    return open_database(console.settings(quiet=True).database)


def _finish(database: Database, work: Awaitable[T]) -> T:
    """Wait for some work, and close the database."""

    async def body() -> T:
        try:
            return await work
        finally:
            await database.close()

    return asyncio.run(body())


@db.command("upgrade")
def upgrade() -> None:
    """Upgrade the schema to this version of feedzone. Make a backup first."""
    from ..store.schema import upgrade as schema

    before, after = schema.upgrade(_database())
    console.say(
        f"Schema {after}, was {before or 'empty'}." if before != after else f"Schema {after}: up to date."
    )


@db.command("check")
def check() -> None:
    """Check that the schema fits this version; exit code 1 if not."""
    from ..errors import SchemaMismatch
    from ..store.engine.database import missing_file, open_database
    from ..store.schema import upgrade as schema

    url = console.settings(quiet=True).database
    if (path := missing_file(url)) is not None:
        raise SchemaMismatch(f"there is no {path}: is DATABASE_URL right? `feedzone db upgrade` creates it")
    schema.check(open_database(url))
    console.say(f"Schema {schema.newest_revision()}: up to date.")


@db.command("restored")
def restored() -> None:
    """After a backup was restored: delete again what it brought back, and compare everybody with Strava."""
    from ..clock import SystemClock
    from ..services.erasures import apply_if_restored
    from ..store.schema import upgrade as schema

    settings, database, now = console.settings(quiet=True, strava=True), _database(), SystemClock().now()
    schema.check(database)
    home, days = settings.feedzone_home, settings.initial_sync_days
    done = _finish(database, apply_if_restored(database, home, days, now, force=True))
    assert done is not None
    activities = count(done.activities_removed, "activity", "activities")
    console.say(f"Deleted again: {count(done.athletes_removed, 'athlete')} and {activities}.")
    console.say(f"Comparing {count(done.athletes_to_compare, 'athlete')} with Strava.")
    if refused := console.run(_refused, strava=True):
        console.say(f"Strava no longer accepts the tokens of {', '.join(refused)}. Send them this link:")
        console.say(f"  {settings.app_url}/connect?force=1")
    console.say("A running feedzone does the rest.")


async def _refused(app: App) -> list[str]:
    """Refresh the tokens of all athletes by their comparisons; return the names of those refused."""
    from ..app import working

    async with working(app):
        for _ in range(round(REFRESHES_WITHIN_S / PAUSE_S)):
            if not await app.queries.jobs.any_due_reconciliation():
                break
            await asyncio.sleep(PAUSE_S)
    return [athlete.name for athlete in (await app.queries.status.health_report()).lost]


@keys.command("new")
def new() -> None:
    """Print a new key. Put it before the old keys in TOKEN_ENCRYPTION_KEYS, then run rotate."""
    from ..vault import new_key

    console.say(new_key())


@keys.command("forget-lost")
def forget_lost(
    confirmed: Annotated[bool, typer.Option("--yes", help="Do it: the tokens cannot be restored.")] = False,
) -> None:
    """Delete the tokens whose key is lost. Their athletes must connect again."""
    from ..clock import SystemClock
    from ..store import token_keys
    from ..vault import KEY_FILE, load_vault

    settings, database = console.settings(quiet=True), _database()
    setting, home = settings.token_encryption_keys.get_secret_value(), settings.feedzone_home
    is_lost = not setting and not (home / KEY_FILE).exists()
    known = frozenset[str]() if is_lost else load_vault(setting, home).key_ids
    by_key = database.run_sync(token_keys.athletes_by_key)
    concerned = sum(number for key_id, number in by_key.items() if key_id not in known)
    if concerned and not confirmed:
        console.complain(f"this deletes the tokens of {count(concerned, 'athlete')}: confirm with --yes")
        raise typer.Exit(1)
    now = SystemClock().now()
    forgotten = _finish(database, token_keys.forget_other_keys(database, known, now))
    console.say(f"Deleted the tokens of {count(forgotten, 'athlete')}. Send them the link to connect again.")


@keys.command("rotate")
def rotate() -> None:
    """Encrypt every stored token with the newest key; then remove the older keys."""

    async def command(app: App) -> int:
        return await app.tokens.rotate_keys()

    console.say(f"The tokens of {count(console.run(command), 'athlete')} use the newest key now.")
