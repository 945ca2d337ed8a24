"""Transactions are atomic on both databases, and an unavailable database raises StorageUnavailable."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from feedzone.errors import SettingsError, StorageUnavailable
from feedzone.store.engine import postgres, sqlite
from feedzone.store.engine.database import open_database
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.engine.sqlite import SqliteDatabase
from feedzone.store.schema import upgrade
from feedzone.store.schema.tables import oauth_states
from feedzone.worker.wakeup import LocalWakeup


def insert(digest, clock):
    now = clock.now()
    return lambda c: c.execute(oauth_states.insert().values(digest=digest, created_at=now))


async def digests(database):
    query = select(oauth_states.c.digest).order_by(oauth_states.c.digest)
    return await database.read(lambda c: list(c.execute(query).scalars()))


@pytest.mark.parametrize(
    "url",
    ["mysql://x/y", "redis://x", "feedzone.db", "", "/var/lib/x.db", "sqlite3:///x", "postgres+x"],
)
def test_an_unsupported_database_url_is_refused_with_the_supported_ones(url):
    if url == "postgres+x":
        url = "oracle+postgresql://x"
    with pytest.raises(SettingsError, match=r"DATABASE_URL takes sqlite:///path or postgresql://"):
        open_database(url)


def test_a_refusal_does_not_print_the_password():
    with pytest.raises(SettingsError) as refused:
        open_database("mysql://user:canary@host/name")
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_sqlite_database_needs_a_file(url):
    with pytest.raises(SettingsError, match="needs a file"):
        open_database(url)


def test_a_folder_that_cannot_be_created_is_named_in_the_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=str(tmp_path / "file")):
        open_database(f"sqlite:///{tmp_path / 'file' / 'feedzone.db'}")


async def test_the_folder_of_a_sqlite_file_is_created(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'a' / 'b' / 'feedzone.db'}")
    assert await opened.write(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    await opened.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
async def test_any_postgresql_driver_in_the_url_is_accepted(scheme, migrated_postgres):
    opened = open_database(migrated_postgres.replace("postgresql", scheme, 1))
    assert isinstance(opened, PostgresDatabase)
    assert await opened.read(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    await opened.close()


async def test_a_transaction_returns_the_result_of_its_body(database):
    assert await database.write(lambda c: c.execute(text("SELECT 41")).scalar() + 1) == 42


async def test_a_failed_transaction_writes_nothing_and_the_next_one_works(database, clock):
    def half(connection):
        insert("half", clock)(connection)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.write(half)
    assert await digests(database) == []
    await database.write(insert("complete", clock))
    assert await digests(database) == ["complete"]


async def test_a_violated_constraint_is_not_reported_as_an_outage(database, clock):
    await database.write(insert("a", clock))
    with pytest.raises(IntegrityError):
        await database.write(insert("a", clock))


async def test_synchronous_code_shares_the_same_database(database, clock):
    await asyncio.to_thread(database.run_sync, insert("sync", clock))
    assert await digests(database) == ["sync"]
    with pytest.raises(LookupError):
        await asyncio.to_thread(database.run_sync, lambda c: {}["no"] if insert("x", clock)(c) else None)
    assert await digests(database) == ["sync"]


async def test_many_writers_wait_for_each_other_instead_of_failing(database, clock):
    await asyncio.gather(*(database.write(insert(f"{n:03}", clock)) for n in range(60)))
    assert await digests(database) == [f"{n:03}" for n in range(60)]


async def test_a_write_with_a_cancelled_caller_commits_fully_or_not_at_all(database, clock):
    def both(connection):
        insert("one", clock)(connection)
        insert("two", clock)(connection)

    task = asyncio.create_task(database.write(both))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(insert("three", clock))
    assert await digests(database) in (["one", "three", "two"], ["three"])


async def test_an_unused_database_can_be_closed(database_url):
    await open_database(database_url).close()


async def test_sqlite_settings_let_an_acknowledged_write_survive_a_power_cut(sqlite_database):
    def pragmas(connection):
        names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        return {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in names}

    expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
    assert await sqlite_database.write(pragmas) == expected
    assert await sqlite_database.read(pragmas) == expected


OPEN_TOGETHER = """
import multiprocessing, sys
from sqlalchemy import text
from feedzone.store.engine.sqlite import SqliteDatabase

def open_new(path, together, problems):
    database = SqliteDatabase(f"sqlite:///{path}")
    together.wait()
    try:
        database.run_sync(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS x (y)")))
        problems.put(None)
    except Exception as problem:
        problems.put(str(problem))

fork = multiprocessing.get_context("fork")
results = fork.Queue()
for number in range(40):
    together = fork.Barrier(4)
    others = [
        fork.Process(target=open_new, args=(f"{sys.argv[1]}/{number}.db", together, results))
        for _ in range(4)
    ]
    for other in others:
        other.start()
    problems = [problem for _ in others if (problem := results.get())]
    for other in others:
        other.join()
    if problems:
        sys.exit(problems[0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks, to begin at the same instant")
async def test_several_processes_may_open_the_same_new_sqlite_file_at_once(tmp_path):
    """`feedzone serve` and `feedzone work` start together: turning on WAL must not fail with "locked"."""
    command = [sys.executable, "-c", OPEN_TOGETHER, str(tmp_path)]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_reads_do_not_wait_for_writes(sqlite_database, clock):
    begun, resume = threading.Event(), threading.Event()

    def slow(connection):
        insert("slow", clock)(connection)
        begun.set()
        assert resume.wait(10)

    writing = asyncio.create_task(sqlite_database.write(slow))
    await asyncio.to_thread(begun.wait)
    assert await digests(sqlite_database) == []
    resume.set()
    await writing
    assert await digests(sqlite_database) == ["slow"]


@pytest.fixture
def impatient(sqlite_database, monkeypatch):
    """The same SQLite file, opened by a process that waits 50 ms for the writes of others."""
    monkeypatch.setattr(sqlite, "BUSY_MS", 50)
    return SqliteDatabase(f"sqlite:///{sqlite_database.path}")


@pytest.fixture
def locked(sqlite_database):
    """Another process keeps a write transaction open."""
    other = sqlite3.connect(sqlite_database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


async def test_a_sqlite_file_that_stays_locked_is_unavailable(impatient, locked, clock):
    with pytest.raises(StorageUnavailable, match="locked"):
        await impatient.write(insert("late", clock))
    assert await digests(impatient) == []  # reads still work
    locked.execute("ROLLBACK")
    await impatient.write(insert("later", clock))
    assert await digests(impatient) == ["later"]
    await impatient.close()


async def test_a_sqlite_file_that_cannot_be_opened_is_unavailable(tmp_path):
    (tmp_path / "feedzone.db").mkdir()
    opened = open_database(f"sqlite:///{tmp_path / 'feedzone.db'}")
    with pytest.raises(StorageUnavailable):
        await opened.read(lambda c: c.execute(text("SELECT 1")))
    await opened.close()


def no_database(path):
    path.write_bytes(b"This is a text of some length, and no database." * 20)


def a_folder(path):
    path.mkdir()


def a_damaged_one(path):
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE x (y)")
        made.executemany("INSERT INTO x VALUES (?)", [("z" * 500,)] * 200)
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    ("make", "says"),
    [(no_database, "is not a SQLite database"), (a_folder, "is a folder"), (a_damaged_one, "is damaged")],
)
async def test_a_file_that_is_no_usable_database_is_one_line_in_every_use(tmp_path, make, says):
    make(tmp_path / "x.db")
    opened = open_database(f"sqlite:///{tmp_path / 'x.db'}")
    look = text("SELECT count(*) FROM sqlite_master")
    for use in (opened.read, opened.write):
        with pytest.raises(StorageUnavailable, match=says) as problem:
            await use(lambda c: c.execute(look).scalar())
        assert "\n" not in str(problem.value)
    with pytest.raises(StorageUnavailable, match=says):
        await asyncio.to_thread(upgrade.prepare, opened)
    await opened.close()


@pytest.mark.parametrize(
    "url",
    ["postgresql://x@127.0.0.1:1/x", "postgresql://x@/x?host=/nowhere"],
    ids=["port", "socket"],
)
async def test_a_postgresql_that_does_not_answer_is_unavailable(url):
    opened = open_database(url)
    for use in (opened.read, opened.write):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            await use(lambda c: None)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await asyncio.to_thread(opened.run_sync, lambda c: None)
    await opened.close()


@pytest.mark.parametrize(
    "error",
    [
        "57P03 starting up",
        "57P01 shutting down",
        "53300 too many connections",
        "53100 disk full",
        "53200 memory",
    ],
)
async def test_a_postgresql_that_cannot_serve_now_is_unavailable(postgres_database, error):
    """All of these are temporary: the webhook answers 503 and workers retry."""
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{error[:5]}'; END $$"
    with pytest.raises(StorageUnavailable):
        await postgres_database.write(lambda c: c.exec_driver_sql(raising))


async def test_a_locked_table_fails_a_read_after_the_lock_timeout(migrated_postgres, second_postgres):
    """Pages also report that the database is unavailable."""
    impatient = PostgresDatabase(migrated_postgres, lock_timeout_s=0.2)

    lock_taken, finish = threading.Event(), threading.Event()

    def hold(connection):
        connection.exec_driver_sql("LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE")
        lock_taken.set()
        finish.wait(10)

    holding = asyncio.create_task(asyncio.to_thread(second_postgres.run_sync, hold))
    await asyncio.to_thread(lock_taken.wait, 10)
    count = text("SELECT count(*) FROM webhook_events")
    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(impatient.read(lambda c: c.execute(count).scalar()), 5)
    finish.set()
    await holding
    assert await impatient.read(lambda c: c.execute(count).scalar()) == 0
    await impatient.close()


async def test_a_postgresql_without_our_database_is_unavailable(migrated_postgres):
    base, _, query = migrated_postgres.partition("?")
    opened = open_database(f"{base}_not_there" + (f"?{query}" if query else ""))
    with pytest.raises(StorageUnavailable, match="not_there"):
        await opened.read(lambda c: None)
    await opened.close()


END_ALL = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def test_a_connection_that_is_cut_inside_a_transaction_is_unavailable(
    postgres_database, second_postgres, clock
):
    pid = text("SELECT pg_backend_pid()")
    kill = "SELECT pg_terminate_backend(pg_backend_pid())"

    def cut(connection):
        insert("lost", clock)(connection)
        connection.execute(pid)
        connection.exec_driver_sql(kill)

    with pytest.raises(StorageUnavailable):
        await postgres_database.write(cut)
    assert await digests(postgres_database) == []


async def test_after_a_restart_of_postgresql_the_next_write_works(postgres_database, second_postgres, clock):
    await postgres_database.write(insert("before", clock))
    assert await second_postgres.read(lambda c: c.execute(END_ALL).scalar()) >= 1
    await postgres_database.write(insert("later", clock))
    assert await digests(postgres_database) == ["before", "later"]


async def test_a_repeated_deadlock_is_retried_a_limited_number_of_times(postgres_database):
    tries = []

    def unlucky(connection):
        tries.append(1)
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")

    with pytest.raises(Exception, match="deadlock"):
        await postgres_database.write(unlucky)
    assert len(tries) == postgres.TRIES


def test_each_database_reports_its_capabilities(tmp_path):
    assert open_database(f"sqlite:///{tmp_path / 'x.db'}").shares_work is False
    assert open_database("postgresql://x@127.0.0.1:1/x").shares_work is True
    assert open_database(f"sqlite:///{tmp_path / 'x.db'}").listener(LocalWakeup(), LocalWakeup()) is None
    assert open_database("postgresql://x@127.0.0.1:1/x").listener(LocalWakeup(), LocalWakeup()) is not None
