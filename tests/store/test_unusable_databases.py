"""Every command says in one line what is wrong with the database, and what to do, without a traceback."""

from __future__ import annotations

import base64
import os
import re
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from feedzone.cli.main import app, main

COMMAND_LINE = typer.main.get_command(app)
WITHOUT_DATABASE = {"version", "init", "sandbox", "keys new", "athletes connect-url", "demo"}
"""Commands that use no database, or a new one of their own (demo)."""

SOME = ("db check", "athletes list", "serve --port 1")
NUMBERS = {"athlete": "1"}
"""Arguments that must be numbers."""


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every command with the arguments and options that it requires."""
    if groups := getattr(command, "commands", None):
        for name, inner in groups.items():
            yield from _commands(inner, (*words, name))
        return
    if " ".join(words) in WITHOUT_DATABASE:
        return
    for parameter in command.params:
        # Nobody is here to ask.
        words += tuple(option for option in parameter.opts if option in ("--yes", "--all"))
        if parameter.required:
            value = NUMBERS.get(parameter.name, "x")
            options = [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
            words += tuple(options)
    yield " ".join(words)


COMMANDS = tuple(_commands(COMMAND_LINE))


def _garbage(folder: Path, _new_postgres: Any) -> tuple[str, str]:
    (folder / "feedzone.db").write_bytes(b"This is a letter, and no database. " * 200)
    return f"sqlite:///{folder}/feedzone.db", "is not a SQLite database: correct DATABASE_URL"


def _folder(folder: Path, _new_postgres: Any) -> tuple[str, str]:
    (folder / "feedzone.db").mkdir()
    return f"sqlite:///{folder}/feedzone.db", "DATABASE_URL"


def _newer(folder: Path, _new_postgres: Any) -> tuple[str, str]:
    with sqlite3.connect(folder / "feedzone.db") as file:
        file.execute("CREATE TABLE alembic_version (version_num TEXT)")
        file.execute("INSERT INTO alembic_version VALUES ('9999')")
    return f"sqlite:///{folder}/feedzone.db", "newer"


def _missing(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    return re.sub(r"/t\w{32}", "/no_such_database", new_postgres()), "create it with `createdb`"


def _no_user(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    scheme, _, rest = new_postgres().partition("://")
    return f"{scheme}://nobody_here:wrong@{rest.partition('@')[2]}", "DATABASE_URL"


def _nothing_listens(_folder: Path, _new_postgres: Any) -> tuple[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"postgresql://a:b@127.0.0.1:{free.getsockname()[1]}/feedzone", "nothing listens"


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run a command in this process; return its exit code and what it wrote."""
    for name in ("STRAVA_CLIENT_ID", "DATABASE_URL", "FEEDZONE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    settings = {
        "STRAVA_CLIENT_ID": "1",
        "STRAVA_CLIENT_SECRET": "s3cret",
        "STRAVA_VERIFY_TOKEN": "verify",
        "APP_URL": "http://127.0.0.1:1",
        "STRAVA_API_BASE_URL": "http://127.0.0.1:1/api/v3",
        "STRAVA_OAUTH_BASE_URL": "http://127.0.0.1:1/oauth",
        "TOKEN_ENCRYPTION_KEYS": base64.urlsafe_b64encode(b"k" * 32).decode(),
        "FEEDZONE_HOME": str(tmp_path),
        "COLUMNS": "80",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def command(words: str, url: str) -> tuple[int, str]:
        mask = os.umask(0o077)
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setattr(sys, "argv", ["feedzone", *words.split()])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), "".join(capfd.readouterr())
        finally:
            os.umask(mask)
        return 0, "".join(capfd.readouterr())

    return command


def assert_one_line(code: int, text: str, remedy: str) -> None:
    assert code in (1, 2), text
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.strip()]
    assert remedy in " ".join(lines)
    assert len(lines) == 1, text


@pytest.mark.parametrize("broken", [_garbage, _missing], ids=["no SQLite file", "no such database"])
def test_every_command_names_the_problem(run, tmp_path, new_postgres, broken):
    url, remedy = broken(tmp_path, new_postgres)
    assert len(COMMANDS) > 20
    for words in COMMANDS:
        code, text = run(words, url)
        assert_one_line(code, f"{words}: {text}", remedy)


@pytest.mark.parametrize("words", SOME)
@pytest.mark.parametrize("broken", [_folder, _newer, _no_user, _nothing_listens])
def test_other_broken_databases_are_one_line(run, tmp_path, new_postgres, broken, words):
    url, remedy = broken(tmp_path, new_postgres)
    assert_one_line(*run(words, url), remedy)
