"""init, doctor, db upgrade|check, keys new|rotate."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .console import out

if TYPE_CHECKING:
    from ..app import App
    from ..services.doctor import Finding
    from ..store.engine.database import Database

db = typer.Typer(help="The database schema.", no_args_is_help=True)
keys = typer.Typer(help="The keys that encrypt tokens.", no_args_is_help=True)

ENV_FILE = """\
# feedzone's settings. Every other one is explained in .env.template.

# From https://www.strava.com/settings/api
STRAVA_CLIENT_ID=
STRAVA_CLIENT_SECRET=

# How athletes and Strava reach this server: https, in public.
# Strava's "Authorization Callback Domain" is its bare host.
APP_URL=http://127.0.0.1:8000

# Generated for this installation. Keep TOKEN_ENCRYPTION_KEYS: without it stored tokens cannot be read.
TOKEN_ENCRYPTION_KEYS={key}
STRAVA_VERIFY_TOKEN={verify}
WEBHOOK_PATH_SECRET={path}
ADMIN_PASSWORD={password}
API_KEY={api_key}
"""


def init(
    file: Annotated[Path, typer.Option(help="Where to write.")] = Path(".env"),
) -> None:
    """Write a .env with generated secrets; an existing one is left alone."""
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
        console.complain(f"{file} exists already and was left as it is")
        raise typer.Exit(1) from None
    with os.fdopen(handle, "w", encoding="utf-8") as env:
        env.write(text)
    out.print(f"Wrote {file}. Now put STRAVA_CLIENT_ID, STRAVA_CLIENT_SECRET and APP_URL into it, then:")
    out.print(
        "  feedzone serve\n  feedzone subscription ensure      (in another terminal)\n  feedzone doctor"
    )


def doctor() -> None:
    """Examine everything that must be right, and say what to do about what is not."""
    from ..services.doctor import examine

    async def command(app: App) -> list[Finding]:
        return await examine(app.subscription, app.queries.status, app.transport, app.settings.app_url)

    findings = console.run(command, strava=True)
    for finding in findings:
        mark = {"ok": "[green]ok[/]  ", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}[finding.verdict]
        console.say(f"{mark}  {finding.text}")
        if finding.remedy:
            console.say(f"      {finding.remedy}", markup=False)
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(1)


def _database() -> Database:
    from ..store.engine.database import open_database

    return open_database(console.settings(quiet=True).database)


@db.command("upgrade")
def upgrade() -> None:
    """Bring the schema to this version of feedzone. Back the database up first."""
    from ..store.schema import upgrade as schema

    before, after = schema.upgrade(_database())
    out.print(
        f"Schema {after}, was {before or 'empty'}." if before != after else f"Schema {after}: nothing to do."
    )


@db.command("check")
def check() -> None:
    """Say whether the schema is what this version needs; exit code 1 when it is not."""
    from ..errors import SchemaMismatch
    from ..store.engine.database import missing_file, open_database
    from ..store.schema import upgrade as schema

    url = console.settings(quiet=True).database
    if (path := missing_file(url)) is not None:
        raise SchemaMismatch(f"there is no {path}: is DATABASE_URL right? `feedzone db upgrade` creates it")
    schema.check(open_database(url))
    out.print(f"Schema {schema.newest_revision()}: as needed.")


@keys.command("new")
def new() -> None:
    """Print a new key. Put it first in TOKEN_ENCRYPTION_KEYS, keep the old ones behind it, then rotate."""
    from ..vault import new_key

    out.print(new_key(), soft_wrap=True)


@keys.command("rotate")
def rotate() -> None:
    """Encrypt every stored token with the newest key; then the older keys may go."""

    async def command(app: App) -> int:
        return await app.database.write(app.tokens.rotate_keys)

    out.print(f"{console.run(command)} athletes' tokens are now encrypted with the newest key.")
