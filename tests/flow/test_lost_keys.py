"""Missing and wrong keys stop the start instead of costing athletes their tokens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from feedzone.app import prepare_database
from feedzone.cli.main import app as cli
from feedzone.clock import StravaClock, SystemClock
from feedzone.domain.athlete import AthleteProfile, TokenGrant
from feedzone.errors import SettingsError
from feedzone.queries.read_models import read_models
from feedzone.settings import Settings
from feedzone.store import athletes
from feedzone.store.engine.database import Database, open_database
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema.tables import strava_athletes
from feedzone.store.tokens import TokenTable
from feedzone.vault import KEY_FILE, load_vault, new_key

NOW = datetime(2026, 11, 3, 8, 0, tzinfo=UTC)


def settings(home: Path, keys: str = "") -> Settings:
    return Settings(_env_file=None, feedzone_home=home, token_encryption_keys=keys)


def start(home: Path, keys: str = "") -> Database:
    """Start with two athletes whose tokens the key encrypts."""
    prepare_database(settings(home, keys))
    database = open_database(settings(home).database)
    tokens = TokenTable(database, load_vault(keys, home), None)

    def body(connection):
        for number in (1, 2):
            athletes.connect(connection, AthleteProfile(number), "activity:read", "active", None, NOW)
            grant = TokenGrant("access", "refresh", NOW + timedelta(hours=6))
            tokens.save_exchanged(connection, number, grant, NOW)

    database.run_sync(body)
    return database


def test_a_lost_key_file_stops_the_start_and_no_new_one_is_created(tmp_path: Path) -> None:
    start(tmp_path)
    prepare_database(settings(tmp_path))
    content = (tmp_path / KEY_FILE).read_text()
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(SettingsError, match=r"token\.key is missing: .* tokens of 2 athletes") as problem:
        prepare_database(settings(tmp_path))
    assert "\n" not in str(problem.value)
    assert not (tmp_path / KEY_FILE).exists()
    (tmp_path / KEY_FILE).write_text(content)
    prepare_database(settings(tmp_path))


def test_a_wrong_key_stops_the_start_wherever_it_is_set(tmp_path: Path) -> None:
    key = new_key()
    start(tmp_path, key)
    prepare_database(settings(tmp_path, f"{new_key()},{key}"))
    with pytest.raises(SettingsError, match=r"TOKEN_ENCRYPTION_KEYS is wrong: .* 2 athletes"):
        prepare_database(settings(tmp_path, new_key()))
    with pytest.raises(SettingsError, match=r"token\.key is missing"):
        prepare_database(settings(tmp_path))
    load_vault("", tmp_path)
    with pytest.raises(SettingsError, match=r"token\.key is wrong"):
        prepare_database(settings(tmp_path))


def test_any_key_starts_an_installation_without_athletes(tmp_path: Path) -> None:
    prepare_database(settings(tmp_path, new_key()))
    prepare_database(settings(tmp_path, new_key()))


def test_doctor_names_the_lost_key_and_a_command_forgets_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    database = start(tmp_path, key)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "FEEDZONE_HOME": str(tmp_path),
        "TOKEN_ENCRYPTION_KEYS": new_key(),
        "STRAVA_CLIENT_ID": "1",
        "STRAVA_CLIENT_SECRET": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    problem = CliRunner().invoke(cli, ["doctor"])
    assert "tokens of 2 athletes" in str(problem.exception) + problem.output
    assert CliRunner().invoke(cli, ["keys", "forget-lost"]).exit_code == 1
    assert "2 athletes" in CliRunner().invoke(cli, ["keys", "forget-lost", "--yes"]).output
    rows = database.run_sync(lambda c: c.execute(select(strava_athletes)).all())
    assert {(row.status, row.refresh_token_encrypted) for row in rows} == {("needs_reauth", None)}
    prepare_database(settings(tmp_path, new_key()))


async def test_a_running_process_counts_the_athletes_whose_key_it_lacks(tmp_path: Path) -> None:
    key = new_key()
    database = await asyncio.to_thread(start, tmp_path, key)
    clock = SystemClock()
    for keys, concerned in ((key, 0), (new_key(), 2)):
        ids = load_vault(keys, tmp_path).key_ids
        queries = read_models(database, clock, BudgetTable(database, StravaClock(clock)), key_ids=ids)
        assert (await queries.status.pulse()).unreadable_athletes == concerned
    await database.close()
