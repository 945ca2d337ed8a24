"""An activity costs few round trips to PostgreSQL: jobs that run together share statements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from engine import DETAIL, STREAMS, ManualEngine, make_engine

from feedzone.ports import Request, Response
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.schema.tables import activity_streams
from tcp_proxy import Proxy, proxy_to

JOBS = 10


class Counting(Proxy):
    """Counts the requests of a client that wait for an answer of PostgreSQL.

    These are simple queries, and executions up to a Sync. To prepare a statement does not count, because that
    happens once for each connection.
    """

    def __init__(self, server_url: str) -> None:
        super().__init__(server_url)
        self.trips = 0

    def note_sent(self, sent: bytes) -> None:
        executes = False
        while len(sent) >= 5 and sent[0]:
            kind, length = sent[:1], int.from_bytes(sent[1:5], "big")
            executes = executes or kind == b"E"
            if kind == b"Q" or (kind == b"S" and executes):
                self.trips += 1
                executes = False
            sent = sent[1 + length :]


@pytest.fixture
async def counting(migrated_postgres, postgres_database, clock, tmp_path) -> AsyncIterator[ManualEngine]:
    async with proxy_to(migrated_postgres, Counting) as proxy:
        database = PostgresDatabase(proxy.url)
        made, athletes = make_engine(database, clock, tmp_path, athletes=JOBS)
        for athlete in athletes:
            await made.connect(athlete)
        await made.work()
        made.athletes, made.proxy = athletes, proxy
        yield made
        await database.close()


def answer_together(engine: ManualEngine) -> None:
    """Let Strava answer when all jobs have asked: so each step of theirs is a group, on any machine."""
    send, together = engine.app.transport.send, asyncio.Barrier(JOBS)

    async def waiting(request: Request, timeout: float) -> Response:
        await together.wait()
        return await send(request, timeout)

    engine.app.transport.send = waiting


async def test_ten_new_activities_need_at_most_five_round_trips_each(counting):
    engine, proxy = counting, counting.proxy
    for athlete in engine.athletes:
        engine.world.record(athlete, minutes=10)
    await engine.deliver_announced()
    answer_together(engine)
    before, calls = proxy.trips, len(engine.calls)
    await engine.app.worker.producer.run_once()
    await asyncio.wait(list(engine.app.worker.producer.running))
    assert engine.requests(calls) == {DETAIL: JOBS, STREAMS: JOBS}
    assert len(await engine.rows(activity_streams, state="present")) == JOBS
    assert (proxy.trips - before) / JOBS <= 5
