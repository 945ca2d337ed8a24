"""The floor of durability: raw ASGI, where concurrent deliveries share one commit of PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import asyncpg

from .raw_noop import END, START, body

INSERT = """\
INSERT INTO events (object_type, object_id, aspect_type, owner_id, event_time, updates)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::jsonb[])
ON CONFLICT DO NOTHING"""


class Group:
    """Deliveries that came while the previous commit ran."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Committer:
    """One connection that commits one group after the other."""

    async def start(self) -> None:
        connection = await asyncpg.connect(os.environ["DATABASE_URL"])
        self._statement = await connection.prepare(INSERT)
        self._next, self._some = Group(), asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def store(self, data: bytes) -> asyncio.Future[None]:
        event = json.loads(data)
        self._next.rows.append(
            (
                event["object_type"],
                event["object_id"],
                event["aspect_type"],
                event["owner_id"],
                event["event_time"],
                json.dumps(event["updates"]),
            )
        )
        self._some.set()
        return self._next.stored

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            group, self._next = self._next, Group()
            try:
                await self._statement.fetch(*map(list, zip(*group.rows, strict=True)))
            except Exception as error:
                group.stored.set_exception(error)
            else:
                group.stored.set_result(None)


committer = Committer()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["method"] == "POST":
            await committer.store(await body(receive))
        await send(START)
        await send(END)
        return
    await receive()
    await committer.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
