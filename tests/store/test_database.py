"""One way to read and one way to write: whole or not at all, and a clear word when the database is away."""

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
def test_a_database_of_another_kind_is_refused_with_what_is_taken(url):
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


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=str(tmp_path / "file")):
        open_database(f"sqlite:///{tmp_path / 'file' / 'feedzone.db'}")


async def test_the_folder_of_a_sqlite_file_is_made(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'a' / 'b' / 'feedzone.db'}")
    assert await opened.write(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    await opened.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
async def test_drivers_are_our_business(scheme, migrated_postgres):
    opened = open_database(migrated_postgres.replace("postgresql", scheme, 1))
    assert isinstance(opened, PostgresDatabase)
    assert await opened.read(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    await opened.close()


async def test_what_a_body_returns_is_returned(database):
    assert await database.write(lambda c: c.execute(text("SELECT 41")).scalar() + 1) == 42


async def test_a_body_that_raises_leaves_nothing_and_the_next_one_works(database, clock):
    def half(connection):
        insert("half", clock)(connection)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.write(half)
    assert await digests(database) == []
    await database.write(insert("whole", clock))
    assert await digests(database) == ["whole"]


async def test_a_broken_rule_is_a_surprise_not_an_outage(database, clock):
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


async def test_a_write_whose_caller_gave_up_is_whole_or_nothing(database, clock):
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


async def test_it_can_be_closed_before_it_was_ever_used(database_url):
    await open_database(database_url).close()


async def test_sqlite_is_set_up_so_that_an_acknowledged_write_survives_a_power_cut(sqlite_database):
    def pragmas(connection):
        names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        return {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in names}

    wanted = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
    assert await sqlite_database.write(pragmas) == wanted
    assert await sqlite_database.read(pragmas) == wanted


OPEN_TOGETHER = """
import multiprocessing, sys
from sqlalchemy import text
from feedzone.store.engine.sqlite import SqliteDatabase

def open_new(path, together, said):
    database = SqliteDatabase(f"sqlite:///{path}")
    together.wait()
    try:
        database.run_sync(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS x (y)")))
        said.put(None)
    except Exception as problem:
        said.put(str(problem))

fork = multiprocessing.get_context("fork")
said = fork.Queue()
for number in range(40):
    together = fork.Barrier(4)
    others = [
        fork.Process(target=open_new, args=(f"{sys.argv[1]}/{number}.db", together, said)) for _ in range(4)
    ]
    for other in others:
        other.start()
    problems = [problem for _ in others if (problem := said.get())]
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


async def test_reading_does_not_wait_for_writing(sqlite_database, clock):
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection):
        insert("slow", clock)(connection)
        begun.set()
        assert go_on.wait(10)

    writing = asyncio.create_task(sqlite_database.write(slow))
    await asyncio.to_thread(begun.wait)
    assert await digests(sqlite_database) == []
    go_on.set()
    await writing
    assert await digests(sqlite_database) == ["slow"]


@pytest.fixture
def impatient(sqlite_database, monkeypatch):
    """The same SQLite file, opened by a process that waits 50 ms for others' writes."""
    monkeypatch.setattr(sqlite, "BUSY_MS", 50)
    return SqliteDatabase(f"sqlite:///{sqlite_database.path}")


@pytest.fixture
def locked(sqlite_database):
    """Another process writes, and does not end."""
    other = sqlite3.connect(sqlite_database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


async def test_a_sqlite_file_that_stays_locked_is_unavailable(impatient, locked, clock):
    with pytest.raises(StorageUnavailable, match="locked"):
        await impatient.write(insert("late", clock))
    assert await digests(impatient) == []  # and reading goes on
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
    "said",
    [
        "57P03 starting up",
        "57P01 shutting down",
        "53300 too many connections",
        "53100 disk full",
        "53200 memory",
    ],
)
async def test_a_postgresql_that_cannot_serve_now_is_unavailable(postgres_database, said):
    """All of these pass: the webhook answers 503 and workers try again, as if nobody had answered."""
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{said[:5]}'; END $$"
    with pytest.raises(StorageUnavailable):
        await postgres_database.write(lambda c: c.exec_driver_sql(raising))


async def test_a_table_that_somebody_holds_keeps_nobody_waiting_for_ever(migrated_postgres, second_postgres):
    """A page, too, says that it cannot be read now."""
    impatient = PostgresDatabase(migrated_postgres, lock_timeout_s=0.2)

    held, over = threading.Event(), threading.Event()

    def hold(connection):
        connection.exec_driver_sql("LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE")
        held.set()
        over.wait(10)

    holding = asyncio.create_task(asyncio.to_thread(second_postgres.run_sync, hold))
    await asyncio.to_thread(held.wait, 10)
    count = text("SELECT count(*) FROM webhook_events")
    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(impatient.read(lambda c: c.execute(count).scalar()), 5)
    over.set()
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


async def test_a_deadlock_that_never_ends_is_not_tried_for_ever(postgres_database):
    tries = []

    def unlucky(connection):
        tries.append(1)
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")

    with pytest.raises(Exception, match="deadlock"):
        await postgres_database.write(unlucky)
    assert len(tries) == postgres.TRIES


def test_what_the_kinds_can_do_is_asked_not_guessed(tmp_path):
    assert open_database(f"sqlite:///{tmp_path / 'x.db'}").shares_work is False
    assert open_database("postgresql://x@127.0.0.1:1/x").shares_work is True
    assert open_database(f"sqlite:///{tmp_path / 'x.db'}").listener(LocalWakeup()) is None
    assert open_database("postgresql://x@127.0.0.1:1/x").listener(LocalWakeup()) is not None
