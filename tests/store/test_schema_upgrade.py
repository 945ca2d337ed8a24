"""The migrations create exactly the tables of store.schema; any other schema is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from feedzone.errors import SchemaMismatch, StorageUnavailable
from feedzone.store.engine.database import open_database
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.schema import migrate, upgrade
from feedzone.store.schema.tables import metadata


@pytest.fixture
async def empty(database_url):
    """An empty database of each kind."""
    opened = open_database(database_url)
    yield opened
    await opened.close()


def shape(connection):
    """Return everything that a database reports about its tables."""
    shapes = {}
    inspector = inspect(connection)
    for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        shapes[table] = {
            "columns": [{**column, "type": repr(column["type"])} for column in inspector.get_columns(table)],
            "indexes": sorted(
                ({**index, "dialect_options": _as_text(index)} for index in inspector.get_indexes(table)),
                key=lambda index: index["name"],
            ),
            "key": inspector.get_pk_constraint(table),
            "unique": inspector.get_unique_constraints(table),
            "checks": sorted(inspector.get_check_constraints(table), key=lambda check: check["name"]),
        }
    return shapes


def _as_text(index):
    """The conditions of a partial index, as text: SQLAlchemy's clauses do not compare."""
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


async def in_thread(function, *arguments):
    return await asyncio.to_thread(function, *arguments)


async def test_the_migrations_build_exactly_the_schema(empty):
    await in_thread(upgrade.upgrade, empty)

    def difference(connection):
        # Alembic misreads SQLite's DEFAULT ''; the next test compares defaults on both databases.
        options = {"compare_type": True, "compare_server_default": connection.dialect.name != "sqlite"}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await empty.read(difference) == []


async def test_checks_conditions_comments_and_order_are_the_same(empty, tmp_path):
    """compare_metadata does not check these, so a second schema is created from store.schema alone."""
    await in_thread(upgrade.upgrade, empty)
    migrated = await empty.read(shape)

    def rebuild(connection):
        metadata.drop_all(connection)
        metadata.create_all(connection)
        return shape(connection)

    assert await empty.write(rebuild) == migrated
    assert set(migrated) == set(metadata.tables)


async def test_an_empty_database_gets_the_schema_and_a_second_start_changes_nothing(empty):
    assert await in_thread(upgrade.prepare, empty) is True
    before = await empty.read(shape)
    assert await in_thread(upgrade.prepare, empty) is False
    newest = upgrade.newest_revision()
    assert await in_thread(upgrade.upgrade, empty) == (newest, newest)
    assert await empty.read(shape) == before
    await in_thread(upgrade.check, empty)


def test_the_revisions_are_those_that_alembic_reads_from_the_migrations():
    migrations = ScriptDirectory(str(migrate.MIGRATIONS))
    assert (
        upgrade.known_revisions() == [migration.revision for migration in migrations.walk_revisions()][::-1]
    )
    assert migrations.get_heads() == [upgrade.newest_revision()]


async def test_an_upgrade_returns_the_revisions_before_and_after(empty):
    assert await in_thread(upgrade.current_revision, empty) is None
    assert await in_thread(upgrade.upgrade, empty) == (None, upgrade.newest_revision())
    assert await in_thread(upgrade.current_revision, empty) == upgrade.newest_revision()


async def test_a_check_of_an_empty_database_names_the_upgrade_command(empty):
    with pytest.raises(SchemaMismatch, match="empty: run `feedzone db upgrade`"):
        await in_thread(upgrade.check, empty)


async def test_an_older_schema_is_refused_with_the_upgrade_command(empty, monkeypatch):
    await in_thread(upgrade.upgrade, empty)
    current = upgrade.newest_revision()
    monkeypatch.setattr(upgrade, "newest_revision", lambda: "9999")
    for action in (upgrade.check, upgrade.prepare):
        with pytest.raises(SchemaMismatch, match=rf"older .*{current}, needed 9999.*back it up.*db upgrade"):
            await in_thread(action, empty)


async def test_a_newer_schema_is_refused_and_left_alone(empty):
    await in_thread(upgrade.upgrade, empty)
    await empty.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    before = await empty.read(shape)
    for action in (upgrade.check, upgrade.prepare, upgrade.upgrade):
        with pytest.raises(SchemaMismatch, match=r"newer .*9999 is unknown.*upgrade feedzone"):
            await in_thread(action, empty)
    assert await empty.read(shape) == before


async def test_tables_of_another_program_are_refused_and_left_alone(empty):
    await empty.write(lambda c: c.execute(text("CREATE TABLE webhook_events (foreign_column INTEGER)")))
    for action in (upgrade.check, upgrade.prepare, upgrade.upgrade):
        with pytest.raises(SchemaMismatch, match="not made by feedzone"):
            await in_thread(action, empty)
    assert await empty.read(lambda c: inspect(c).get_table_names()) == ["webhook_events"]


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(empty, monkeypatch):
    def broken(config, revision):
        config.attributes["connection"].execute(text("CREATE TABLE half (id INTEGER)"))
        raise RuntimeError("no")

    monkeypatch.setattr(migrate.command, "upgrade", broken)
    with pytest.raises(RuntimeError):
        await in_thread(upgrade.upgrade, empty)
    assert await empty.read(lambda c: inspect(c).get_table_names()) == []


PREPARE = """
import sys
from feedzone.store.schema import upgrade
from feedzone.store.engine.database import open_database
from feedzone.store.engine.postgres import PostgresDatabase
database = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(upgrade.prepare(database))
"""


async def test_several_processes_may_prepare_the_same_empty_database_at_once(empty, database_url):
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PREPARE, database_url]
    processes = [subprocess.Popen(command, cwd=Path.cwd(), **pipe) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [await in_thread(process.communicate) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ended
    await in_thread(upgrade.check, empty)


async def test_an_upgrade_waits_for_a_busy_table_and_then_succeeds(postgres_url, monkeypatch):
    """A migration that waited with locks of its own could be one side of a deadlock."""
    monkeypatch.setattr(upgrade, "LOCK_S", 0.1)
    monkeypatch.setattr(upgrade, "PAUSE_S", 0.05)
    empty, other = PostgresDatabase(postgres_url), PostgresDatabase(postgres_url)
    await in_thread(upgrade.upgrade, empty)
    await empty.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0000'")))
    monkeypatch.setattr(upgrade, "known_revisions", lambda: ["0000", "0001"])
    tries = []

    def migration(connection):
        tries.append(1)
        connection.execute(text("ALTER TABLE webhook_events ADD COLUMN more INTEGER"))

    monkeypatch.setattr(migrate, "upgrade_to_head", migration)
    monkeypatch.setattr(upgrade, "TRIES", 3)
    locked, release = threading.Event(), threading.Event()

    def hold(connection):
        connection.execute(text("LOCK TABLE webhook_events IN ROW EXCLUSIVE MODE"))
        locked.set()
        release.wait(60)

    holding = asyncio.create_task(asyncio.to_thread(other.run_sync, hold))
    await asyncio.to_thread(locked.wait, 60)
    with pytest.raises(StorageUnavailable, match="busy, so nothing was changed"):
        await in_thread(upgrade.upgrade, empty)
    assert tries == []
    monkeypatch.setattr(upgrade, "TRIES", 600)
    upgrading = asyncio.create_task(in_thread(upgrade.upgrade, empty))
    release.set()
    await holding
    await upgrading
    assert tries == [1]
    await empty.close()
    await other.close()
