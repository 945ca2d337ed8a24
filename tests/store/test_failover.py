"""After a failover, transactions reach a server that accepts writes; errors say in one line what to do."""

from __future__ import annotations

import asyncio
import socket

import pytest
from sqlalchemy import text

from feedzone.errors import StorageUnavailable
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.schema import upgrade
from tcp_proxy import proxy_to

INSERT = text("INSERT INTO oauth_states VALUES ('x', now()) ON CONFLICT DO NOTHING")
NAME = text("SELECT current_database()")


def insert(connection) -> str:
    connection.execute(INSERT)
    return str(connection.execute(NAME).scalar_one())


@pytest.fixture
async def two(new_postgres) -> tuple[str, str]:
    """Two databases with the schema: they stand for two servers."""
    urls = new_postgres(), new_postgres()
    for url in urls:
        await asyncio.to_thread(upgrade.prepare, PostgresDatabase(url))
    return urls


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


async def psql(server, command: str) -> None:
    await asyncio.to_thread(server.psql, command)


async def test_a_database_that_accepts_only_reads_is_an_outage_and_recovers(two, postgres_server):
    url, _ = two
    database = PostgresDatabase(url)
    assert await database.write(insert) == name_of(url)
    await psql(postgres_server, f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = on;")
    # The open connection still writes. Those that are opened from now on do not.
    database._pool.drop_idle()
    for use in (database.write, database.read):
        with pytest.raises(StorageUnavailable, match="accepts no writes"):
            await use(insert)
    await psql(postgres_server, f"ALTER DATABASE {name_of(url)} RESET default_transaction_read_only;")
    assert await database.write(insert) == name_of(url)
    await database.close()


async def test_a_write_that_is_refused_inside_a_transaction_runs_again_elsewhere(two):
    url, _ = two
    database, runs = PostgresDatabase(url), []

    def body(connection):
        runs.append(1)
        if len(runs) == 1:
            connection.execute(text("SET TRANSACTION READ ONLY"))
        return insert(connection)

    assert await database.write(body) == name_of(url)
    assert len(runs) == 2
    await database.close()


async def test_the_first_host_that_accepts_writes_is_used(two, postgres_server):
    first, _ = two
    async with proxy_to(first) as one, proxy_to(first) as other:
        free = socket.create_server(("127.0.0.1", 0))  # accepts no PostgreSQL connection, and stays silent
        silent = free.getsockname()[1]
        user = one.url.partition("://")[2].partition("@")[0]
        hosts = f"127.0.0.1:1,127.0.0.1:{silent},127.0.0.1:{one.port},127.0.0.1:{other.port}"
        database = PostgresDatabase(
            f"postgresql://{user}@{hosts}/{name_of(first)}?target_session_attrs=read-write&connect_timeout=60"
        )
        assert await database.write(insert, within_s=30) == name_of(first)
        assert (one.accepted, other.accepted) == (1, 0)
        await database.close()
        free.close()


async def test_a_database_that_cannot_hold_all_texts_is_refused(postgres_server):
    for encoding in ("LATIN1", "SQL_ASCII"):
        name = f"t_{encoding.lower()}"
        await psql(
            postgres_server,
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';",
        )
        database = PostgresDatabase(postgres_server.get_uri(name))
        with pytest.raises(StorageUnavailable, match=rf"encoding {encoding}.*createdb --encoding=UTF8"):
            await asyncio.to_thread(database.run_sync, lambda c: None)


async def test_a_user_without_rights_learns_what_is_missing(two, postgres_server):
    url, _ = two
    await psql(postgres_server, "DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN;")
    database = PostgresDatabase(url.replace("postgres:", "weak:", 1).replace("postgres@", "weak@", 1))
    with pytest.raises(StorageUnavailable, match=r"permission denied .*GRANT"):
        await database.write(insert)
    with pytest.raises(StorageUnavailable, match=r"permission denied .*GRANT"):
        await asyncio.to_thread(upgrade.prepare, database)
    await database.close()


async def test_an_unknown_user_host_or_server_is_one_line(two):
    url, _ = two
    http = await asyncio.start_server(answer_http, "127.0.0.1", 0)
    port = http.sockets[0].getsockname()[1]
    cases = {
        url.replace("postgres:", "nobody:", 1).replace("postgres@", "nobody@", 1): "nobody.*correct user",
        "postgresql://u:pw@no-such-host.invalid/d": "unknown host",
        "postgresql://u:pw@127.0.0.1:1/d": "nothing listens there",
        f"postgresql://u:pw@127.0.0.1:{port}/d": f"127.0.0.1:{port}",
        f"postgresql://u:pw@127.0.0.1:{port}/d?sslmode=require": f"127.0.0.1:{port}",
    }
    for wrong, says in cases.items():
        with pytest.raises(StorageUnavailable, match=says) as problem:
            await asyncio.to_thread(PostgresDatabase(wrong).run_sync, lambda c: None)
        assert "\n" not in str(problem.value)
        assert ":pw" not in str(problem.value)
    http.close()


async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("limit", [4, 8])
async def test_no_process_takes_all_connections_of_a_server_with_few(new_postgres, postgres_server, limit):
    url = new_postgres()
    await asyncio.to_thread(upgrade.prepare, PostgresDatabase(url))
    role = f"few{limit}"
    await psql(postgres_server, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT {limit};")
    await psql(postgres_server, f"GRANT ALL ON DATABASE {name_of(url)} TO {role};")
    processes = [
        PostgresDatabase(url.replace("postgres:", f"{role}:", 1).replace("postgres@", f"{role}@", 1))
        for _ in range(3)
    ]
    pause = text("SELECT pg_sleep(0.02)")

    async def work(process: PostgresDatabase) -> None:
        for _ in range(20):
            await process.write(lambda c: c.execute(pause))

    await asyncio.gather(*(work(process) for process in processes for _ in range(8)))
    for process in processes:
        await process.close()
