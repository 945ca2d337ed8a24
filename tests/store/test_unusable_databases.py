"""Every command says in one line what is wrong with the database, and what to do, without a traceback."""

from __future__ import annotations

import base64
import os
import re
import socket
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from feedzone.cli.main import app, main
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.schema import upgrade

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


def _as_user(url: str, user: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}@{rest.partition('@')[2]}"


@pytest.fixture(scope="module")
def roles(postgres_server) -> None:
    """Two roles: one has no rights, and the server asks the other for a password."""
    postgres_server.psql("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN;")
    postgres_server.psql("DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 'right';")
    rules = Path(postgres_server.pgdata) / "pg_hba.conf"
    entries = "local all guarded scram-sha-256\nhost all guarded all scram-sha-256\n"
    rules.write_text(entries + rules.read_text())
    postgres_server.psql("SELECT pg_reload_conf();")


def _wrong_password(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    return _as_user(new_postgres(), "guarded:canary"), "correct user and password in DATABASE_URL"


def _no_password(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    return _as_user(new_postgres(), "guarded"), "correct user and password in DATABASE_URL"


def _no_rights(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    return _as_user(new_postgres(), "weak"), "GRANT"


def _no_rights_to_the_tables(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    url = new_postgres()
    upgrade.prepare(PostgresDatabase(url))
    return _as_user(url, "weak"), "GRANT"


def _no_right_to_connect(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    url = new_postgres()
    _run(url, "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    return _as_user(url, "weak"), "GRANT CONNECT"


def _only_reads(_folder: Path, new_postgres: Any) -> tuple[str, str]:
    url = new_postgres()
    _run(url, "ALTER DATABASE {name} SET default_transaction_read_only = on")
    return url, "accepts no writes"


def _run(url: str, command: str) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    PostgresDatabase(url).run_sync(lambda c: c.exec_driver_sql(command.format(name=name)))


def _encoded(encoding: str) -> Any:
    def broken(_folder: Path, new_postgres: Any) -> tuple[str, str]:
        url, name = new_postgres(), f"t{uuid.uuid4().hex}"
        options = f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        engine = PostgresDatabase(url)

        # No database can be created within a transaction.
        def create(connection: Any) -> None:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(f"CREATE DATABASE {name} {options}")

        engine.run_sync(create)
        return re.sub(r"/t\w{32}", f"/{name}", url), "createdb --encoding=UTF8"

    return broken


_latin1, _sql_ascii = _encoded("LATIN1"), _encoded("SQL_ASCII")


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
    assert "canary" not in text, "a password"
    lines = [line for line in text.splitlines() if line.strip()]
    assert remedy in " ".join(lines)
    assert len(lines) == 1, text


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("broken", [_garbage, _missing, _wrong_password, _no_rights_to_the_tables])
def test_every_command_names_the_problem(run, tmp_path, new_postgres, broken):
    url, remedy = broken(tmp_path, new_postgres)
    assert len(COMMANDS) > 20
    for words in COMMANDS:
        code, text = run(words, url)
        assert_one_line(code, f"{words}: {text}", remedy)


OTHERS = (
    _folder,
    _newer,
    _no_user,
    _nothing_listens,
    _no_password,
    _no_right_to_connect,
    _only_reads,
    _latin1,
    _sql_ascii,
)


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("words", SOME)
@pytest.mark.parametrize("broken", OTHERS)
def test_other_broken_databases_are_one_line(run, tmp_path, new_postgres, broken, words):
    url, remedy = broken(tmp_path, new_postgres)
    assert_one_line(*run(words, url), remedy)


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("words", ["db upgrade", "athletes list", "serve --port 1"])
def test_a_user_who_may_create_no_tables_learns_it(run, tmp_path, new_postgres, words):
    url, remedy = _no_rights(tmp_path, new_postgres)
    assert_one_line(*run(words, url), remedy)
