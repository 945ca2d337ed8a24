"""An operator restores a backup: nothing that left comes back, and the rest becomes equal to Strava."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from engine import make_engine

from feedzone import app as composition
from feedzone.app import prepare_database
from feedzone.sandbox import running
from feedzone.store.engine.sqlite import SqliteDatabase
from feedzone.store.schema.tables import deletion_receipts, strava_activities, strava_athletes
from flow_fixtures import OPTIONS


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path, monkeypatch):
    """Three connected athletes with four activities each, all stored; the erasure log has begun."""
    made, people = make_engine(sqlite_database, clock, tmp_path / "home", athletes=3)
    made.people = people
    made.app = made.process(database_url=f"sqlite:///{sqlite_database.path}")
    monkeypatch.setattr(composition, "SystemClock", lambda: clock)
    await asyncio.to_thread(prepare_database, made.app.settings)
    for athlete in people:
        for hours in (50, 40, 30, 20):
            start = (clock.now() - timedelta(hours=hours)).timestamp()
            made.world.record(athlete, minutes=2, start=start, name=f"Ride {athlete} {hours}")
        await made.connect(athlete)
    made.announced.clear()
    await settle(made)
    await made.app.erasures.record()
    return made


def copied(path: Path, to: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
    return to


def put_in_place(backup: Path, path: Path) -> None:
    """Restore as docs/operating.md#restored-backups says."""
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        (path.parent / name).unlink(missing_ok=True)
    shutil.copy(backup, path)


async def settle(engine) -> None:
    for _ in range(8):
        await engine.advance_and_work(minutes=20)


async def live(engine, athlete: int) -> dict[int, str]:
    rows = await engine.rows(strava_activities, athlete_id=athlete)
    return {row.id: row.name for row in rows if row.sync_status != "deleted"}


def truth(engine, athlete: int) -> dict[int, str]:
    return {row["id"]: row["name"] for row in engine.world.truth(athlete)}


async def restore(engine, backup) -> None:
    """Stop, put the backup in place, and start."""
    path = engine.database.path
    await engine.database.close()
    put_in_place(backup, path)
    await asyncio.to_thread(prepare_database, engine.app.settings)
    engine.database = SqliteDatabase(f"sqlite:///{path}")
    engine.app = engine.process(database_url=f"sqlite:///{path}")


async def test_nothing_that_left_comes_back_and_the_rest_becomes_equal_to_strava(engine, tmp_path):
    stays, leaves, rotated = engine.people
    backup = copied(engine.database.path, tmp_path / "backup.db")
    old = await live(engine, stays)
    deleted, renamed, unseen = sorted(old)[:3]
    engine.world.delete(deleted)
    engine.world.rename(renamed, "Renamed after the backup")
    engine.world.record(stays, minutes=2, name="Uploaded after the backup")
    await engine.deliver_announced()
    await engine.app.athletes.disconnect(leaves)
    await settle(engine)
    assert await live(engine, stays) == truth(engine, stays)
    (receipt,) = await engine.rows(deletion_receipts)
    await engine.app.erasures.record()
    grants, now = engine.world.grants, engine.world.clock()
    grants.expire_access(rotated)
    grants.refresh(grants.live[rotated].refresh_token, now)
    # Deleted while feedzone was stopped: no log knows it, so only the comparison finds it.
    engine.world.delete(unseen)
    engine.announced.clear()

    await restore(engine, backup)
    # Before any job has run, nothing that left is there.
    assert await live(engine, leaves) == {}
    (gone,) = await engine.rows(strava_athletes, id=leaves)
    assert (gone.status, gone.firstname, gone.refresh_token_encrypted) == ("deauthorized", None, None)
    assert deleted not in await live(engine, stays)
    assert receipt.id in {row.id for row in await engine.rows(deletion_receipts)}

    await settle(engine)
    assert await live(engine, stays) == truth(engine, stays)
    lost = (await engine.app.queries.status.health_report()).lost
    assert [athlete.id for athlete in lost] == [rotated]
    assert await live(engine, rotated) == truth(engine, rotated)
    (back,) = await engine.rows(strava_athletes, id=stays)
    assert back.status == "active"


async def test_a_start_on_the_same_database_changes_nothing(engine, tmp_path):
    before = await live(engine, engine.people[0])
    calls = len(engine.calls)
    await asyncio.to_thread(prepare_database, engine.app.settings)
    await engine.work()
    assert await live(engine, engine.people[0]) == before
    assert len(engine.calls) == calls


@pytest.fixture
async def sandbox():
    async with running(dataclasses.replace(OPTIONS, history_days=4)) as strava:
        yield strava


@pytest.mark.timeout(400)
async def test_the_command_names_those_who_must_connect_again_and_the_link(sandbox, install, eventually):
    feedzone = install(sandbox.url)
    process = await feedzone.start()
    stays, leaves = sandbox.world.athletes

    async def complete():
        bodies = [(await feedzone.api(f"athletes/{athlete}"))[1] for athlete in (stays, leaves)]
        return all(body["progress"]["completed"] for body in bodies)

    for athlete in (stays, leaves):
        await feedzone.connect(athlete)
    await eventually(complete, 90)
    path = feedzone.home / "feedzone.db"
    backup = copied(path, feedzone.home / "backup.db")
    assert (await feedzone.run("athletes", "disconnect", str(leaves), "--yes")).returncode == 0
    grants = sandbox.world.grants
    grants.expire_access(stays)
    grants.refresh(grants.live[stays].refresh_token, sandbox.world.clock())
    await process.stop()
    put_in_place(backup, path)
    ended = await feedzone.run("db", "restored", within_s=200)
    assert ended.returncode == 0, ended.stderr
    assert "Deleted again: 1 athlete and 0 activities." in ended.stdout
    assert "Comparing 1 athlete with Strava." in ended.stdout
    person = sandbox.world.athlete(stays)
    assert f"no longer accepts the tokens of {person.first_name} {person.last_name}" in ended.stdout
    assert f"{feedzone.url}/connect?force=1" in ended.stdout
