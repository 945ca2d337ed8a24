"""Behind pgbouncer, in session and in transaction mode, everything works without a setting."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from store_makers import OWNER, Store, event, spec

from feedzone.domain.outcome import Done
from feedzone.store.duty_lease import SqlDutyLease
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.jobs import lifecycle
from feedzone.store.schema import upgrade
from feedzone.worker.wakeup import LocalWakeup
from processes import free_port
from tcp_proxy import Proxy, proxy_to

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
unix_socket_dir =
pool_mode = {mode}
default_pool_size = {size}
logfile = {folder}/pgbouncer.log
{more}
"""
MODES = {
    "session": ("session", 20, ""),
    "transaction": ("transaction", 3, ""),
    "transaction, settings ignored": (
        "transaction",
        3,
        "ignore_startup_parameters = lock_timeout,statement_timeout",
    ),
}


@pytest.fixture(params=MODES)
async def bouncer(request, new_postgres, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database behind pgbouncer."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is missing: install it (Debian: apt-get install pgbouncer)")
    mode, size, more = MODES[request.param]
    async with proxy_to(new_postgres()) as proxy:
        port = free_port()
        file = tmp_path / "pgbouncer.ini"
        file.write_text(configuration(proxy, port, mode, size, tmp_path, more))
        as_nobody = ["--user", "nobody"] if os.geteuid() == 0 else []
        for path in (tmp_path, *list(tmp_path.parents)[:3]):
            path.chmod(0o777 if path == tmp_path else 0o755)
        process = subprocess.Popen([PGBOUNCER, *as_nobody, str(file)], stderr=subprocess.DEVNULL)
        url = proxy.url.replace(f":{proxy.port}/", f":{port}/")
        yield await until_it_listens(url, port)
        process.terminate()
        await asyncio.to_thread(process.wait, 10)


def configuration(proxy: Proxy, port: int, mode: str, size: int, folder: Path, more: str) -> str:
    user = proxy.url.partition("://")[2].partition("@")[0]
    return CONFIGURATION.format(
        server=proxy.port, user=user, port=port, mode=mode, size=size, folder=folder, more=more
    )


async def until_it_listens(url: str, port: int) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return url


async def test_two_processes_work_behind_it(bouncer, clock):
    await asyncio.to_thread(upgrade.prepare, PostgresDatabase(bouncer))
    await asyncio.to_thread(upgrade.check, PostgresDatabase(bouncer))
    processes = [PostgresDatabase(bouncer) for _ in range(2)]
    stores = [Store.over(process, clock) for process in processes]
    await stores[0].connect(OWNER)
    now = clock.now()

    async def work(number: int) -> None:
        store, process = stores[number % 2], processes[number % 2]
        await store.deliver(event(object_id=1000 + number))
        await process.write(lambda c: lifecycle.enqueue(c, [spec(number)], now), durable=False)

    await asyncio.gather(*(work(number) for number in range(40)))
    jobs = await processes[0].read(lambda c: c.execute(text("SELECT count(*) FROM jobs")).scalar())
    assert jobs >= 40
    for job in await stores[1].lease():
        assert await stores[1].queue.finish(job, Done())
    leads = [
        await SqlDutyLease(process, clock, f"host:{n}:ab").acquire() for n, process in enumerate(processes)
    ]
    assert leads == [True, False]
    for process in processes:
        await process.close()


async def test_each_transaction_has_its_limits(bouncer):
    database = PostgresDatabase(bouncer, lock_timeout_s=4.0)
    limits = text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
    for _ in range(3):
        assert tuple(await database.write(lambda c: c.execute(limits).one())) == ("4s", "10s")
    await database.close()


async def test_it_cannot_carry_notifications_so_workers_poll(bouncer):
    listening = PostgresDatabase(bouncer).listener(LocalWakeup(), LocalWakeup())
    await listening.start()
    await asyncio.wait_for(asyncio.shield(listening._task), 10)
    await listening.stop()
