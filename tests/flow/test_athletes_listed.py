"""The output of `feedzone athletes list`, with the real clock and a database file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import Connection
from typer.testing import CliRunner

from feedzone.cli import console
from feedzone.cli.main import app
from feedzone.domain.activity import ActivityRecord
from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import BeginLeaving, StoreReconciliation
from feedzone.store import athletes, effects, leaving, subscriptions
from feedzone.store.engine.database import open_database
from feedzone.store.schema import upgrade

SCOPES = "read,activity:read_all"
NOW = datetime.now(UTC)
Fill = Callable[[Callable[[Connection], None]], None]


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Writes into the database that the commands read."""
    url = f"sqlite:///{tmp_path / 'feedzone.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDZONE_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(console.out, "width", 200)  # whatever it was when it was made

    def write(body: Callable[[Connection], None]) -> None:
        async def opened() -> None:
            database = open_database(url)
            await asyncio.to_thread(upgrade.prepare, database)
            await database.write(body)
            await database.close()

        asyncio.run(opened())

    return write


def connect(connection: Connection, athlete_id: int, days_ago: float) -> None:
    profile = AthleteProfile(athlete_id, None, f"Ada {athlete_id}", None)
    at = NOW - timedelta(days=days_ago)
    athletes.connect(connection, profile, SCOPES, "active", None, at)


def listed(*words: str) -> Result:
    return CliRunner().invoke(app, ["athletes", "list", *words])


def ids(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    return [int(line.split()[0]) for line in result.output.splitlines() if line.split()[0].isdigit()]


def test_the_longest_idle_are_listed_first(fill: Fill) -> None:
    """Departed users hold seats at Strava."""

    def connect_five(connection: Connection) -> None:
        for number, days_ago in ((1, 95), (2, 300), (3, 89), (4, 120), (5, 400)):
            connect(connection, number, days_ago)
        athletes.note_events(connection, {5: NOW - timedelta(days=100)})

    fill(connect_five)
    result = listed("--idle", "90")
    assert ids(result) == [2, 4, 5, 1]
    assert f"{NOW - timedelta(days=100):%Y-%m-%d}" in result.output
    assert ids(listed()) == [1, 2, 3, 4, 5]
    assert "idle since" not in listed().output


def test_all_idle_athletes_are_listed_across_pages(fill: Fill) -> None:
    fill(lambda c: [connect(c, number, 100 + number / 1000) for number in range(1, 451)])
    assert ids(listed("--idle", "90")) == list(range(450, 0, -1))
    assert ids(listed()) == list(range(1, 451))


def test_an_empty_list_of_idle_athletes_says_so(fill: Fill) -> None:
    fill(lambda c: connect(c, 1, 10))
    assert "No athlete has been idle for 90 days." in listed("--idle", "90").output


@pytest.mark.parametrize("days", ["0", "-3", "x", "1.5", "36501", ""])
def test_invalid_days_are_an_error_that_names_the_option(fill: Fill, days: str) -> None:
    result = listed("--idle", days)
    assert result.exit_code == 2
    assert "--idle" in result.output


def test_quiet_athletes_are_marked(fill: Fill) -> None:

    def uploads(connection: Connection) -> None:
        subscriptions.remember(connection, 1, "https://x.test", NOW - timedelta(days=20))
        connect(connection, 1, 10)
        connect(connection, 2, 10)
        for day in (3, 2, 1):
            at = NOW - timedelta(days=day)
            columns = {"start_date": at - timedelta(hours=2), "elapsed_time": 1800}
            record = ActivityRecord(day, 1, "summary", columns, "{}")
            effects.apply(connection, [StoreReconciliation(1, True, (record,), (), (), 2)], at)

    fill(uploads)
    first, second = (line for line in listed().output.splitlines() if " Ada " in line)
    assert "active, quiet" in first
    assert "quiet" not in second
    assert "connect again with all boxes ticked" in listed().output


def test_the_deadline_of_a_leaving_athlete_is_named(fill: Fill) -> None:
    def leave(connection: Connection) -> None:
        connect(connection, 1, 40)
        athletes.mark(connection, 1, "needs_reauth", "Strava refuses the token", NOW)
        leaving.begin(connection, BeginLeaving(1, "event:x", NOW + timedelta(days=7), NOW), NOW)

    fill(leave)
    deadline = f"deleted at {NOW + timedelta(days=7):%Y-%m-%d %H:%M} UTC"
    shown = CliRunner().invoke(app, ["athletes", "show", "1"])
    for result in (listed(), shown):
        assert "leaving" in result.output
        assert deadline in result.output
    assert "Strava refuses the token" in shown.output
