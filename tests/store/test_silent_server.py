"""No wait for a silent PostgreSQL server is endless, and new connections replace those that are silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from test_listener import Bell

from feedzone.errors import StorageUnavailable
from feedzone.store.engine import listener, pool, postgres
from feedzone.store.engine.postgres import PostgresDatabase
from tcp_proxy import Proxy, proxy_to

ONE = text("SELECT 1")


def one(connection) -> int:
    return connection.execute(ONE).scalar_one()


@pytest.fixture
async def proxy(migrated_postgres) -> AsyncIterator[Proxy]:
    async with proxy_to(migrated_postgres) as proxy:
        yield proxy


@pytest.fixture
async def database(proxy, monkeypatch) -> AsyncIterator[PostgresDatabase]:
    """A database behind the proxy, which must answer within half a second."""
    monkeypatch.setattr(postgres, "ANSWER_S", 0.5)
    monkeypatch.setattr(pool, "CHECK_S", 0.3)
    opened = PostgresDatabase(f"{proxy.url}?connect_timeout=1")
    assert await opened.write(one) == 1
    yield opened
    await asyncio.wait_for(opened.close(), 10)


async def test_a_statement_without_an_answer_fails_and_the_next_connection_works(database, proxy):
    proxy.silence()
    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(database.write(one), 10)
    proxy.resume()
    assert await asyncio.wait_for(database.write(one), 10) == 1


async def test_a_connection_that_fell_silent_while_idle_is_replaced_unnoticed(database, proxy, monkeypatch):
    monkeypatch.setattr(pool, "CHECK_AFTER_S", 0.0)
    proxy.silence()
    proxy.resume()
    assert await asyncio.wait_for(database.write(one), 10) == 1


async def test_a_commit_without_an_answer_fails_once(database, proxy):
    runs = []

    def body(connection):
        runs.append(one(connection))
        proxy.silence()

    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(database.write(body), 10)
    assert runs == [1]


async def test_a_transaction_with_a_limit_ends_on_time_whatever_it_waits_for(database, proxy, monkeypatch):
    monkeypatch.setattr(postgres, "ANSWER_S", 60.0)
    proxy.silence()
    for _ in range(3):  # at the check of an idle connection, at a statement, while connecting
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="not committed within"):
            await database.write(one, within_s=0.2)
        assert time.monotonic() - began < 5
    proxy.resume()
    assert await asyncio.wait_for(database.write(one, within_s=5.0), 10) == 1


async def test_a_slow_transaction_with_a_limit_is_cut_and_rolled_back(database, second_postgres):
    marked = text("SELECT count(*) FROM oauth_states WHERE digest = 'slow'")

    def slow(connection):
        connection.execute(text("INSERT INTO oauth_states VALUES ('slow', now())"))
        connection.execute(text("SELECT pg_sleep(20)"))

    with pytest.raises(StorageUnavailable):
        await database.write(slow, within_s=0.2)
    assert await second_postgres.read(lambda c: c.execute(marked).scalar()) == 0


async def test_a_cancelled_caller_leaves_no_transaction_behind(database, proxy):
    task = asyncio.create_task(database.write(one))
    await asyncio.sleep(0)
    proxy.silence()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(database.close(), 10)


async def test_synchronous_code_waits_no_longer(database, proxy):
    def body(connection):
        proxy.silence()
        return one(connection)

    with pytest.raises(StorageUnavailable, match="no answer"):
        await asyncio.to_thread(database.run_sync, body, answer_s=0.3)


async def test_the_listener_leaves_a_silent_connection(proxy, second_postgres, monkeypatch):
    for name, value in {"CHECK_S": 0.1, "ANSWER_S": 0.3, "RECONNECT_S": 0.05}.items():
        monkeypatch.setattr(listener, name, value)
    bell = Bell()
    listening = PostgresDatabase(proxy.url).listener(bell, Bell())
    await listening.start()
    assert await bell.wait()
    proxy.silence()
    proxy.resume()
    assert await bell.wait(20), "a new connection rings once"
    await second_postgres.write(lambda c: c.exec_driver_sql("NOTIFY feedzone_jobs"))
    assert await bell.wait()
    await listening.stop()


async def test_the_operating_system_notices_a_peer_that_is_gone(proxy):
    import socket

    opened = PostgresDatabase(f"{proxy.url}?keepalives_idle=7&tcp_user_timeout=4000")
    pooled = await opened._pool.take()
    sock = pooled.raw._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
    await opened._pool.give_back(pooled)
    await opened.close()


async def test_idle_connections_are_closed_but_one(database, monkeypatch):
    monkeypatch.setattr(pool, "IDLE_S", 0.1)
    pause = text("SELECT pg_sleep(0.1)")
    await asyncio.gather(*(database.write(lambda c: c.execute(pause)) for _ in range(5)))
    assert database._pool.open > 1
    async with asyncio.timeout(10):
        while database._pool.open > 1:
            await asyncio.sleep(0.02)
