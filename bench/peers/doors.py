"""Run the peers that take deliveries, each as one process, and count what they stored."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ..databases import POSTGRES, Databases
from ..load import Answers, send
from ..processes import ROOT, Process, free_port, running, wait_ready
from .installed import MODULES, PYTHON, missing

SCHEMA = """\
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  object_type text NOT NULL, object_id bigint NOT NULL, aspect_type text NOT NULL, owner_id bigint NOT NULL,
  event_time bigint NOT NULL, updates jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (owner_id, object_id, aspect_type, event_time))"""

WARM_UP = 500


@dataclass(frozen=True)
class Peer:
    """A program: a module for uvicorn, or one for Node. `queue` is its list in Redis, if it uses that."""

    name: str
    program: str
    stores: bool = True
    queue: str | None = None

    def needs(self) -> list[str]:
        """Return the programs that are missing on this machine."""
        node = ["node", "npm"] if self.program.endswith(".mjs") else []
        return missing(*node, *(["redis-server", "redis-cli"] if self.queue else []))


PEERS = (
    Peer("raw ASGI, stores nothing", "raw_noop", stores=False),
    Peer("raw ASGI, group commit", "raw_commit"),
    Peer("fastify + pg", "fastify_pg.mjs"),
    Peer("fastify + BullMQ", "fastify_bullmq.mjs", queue="bull:events:wait"),
    Peer("FastAPI + SQLAlchemy", "fastapi_sqlalchemy"),
    Peer("FastAPI + Celery", "fastapi_celery", queue="celery"),
)
BY_NAME = {peer.name: peer for peer in PEERS}


@contextlib.contextmanager
def redis(folder: str) -> Iterator[int]:
    """Run a Redis that waits for the disk before it answers; yield its port."""
    port = free_port()
    options = f"--bind 127.0.0.1 --port {port} --dir {folder} --appendonly yes --appendfsync always".split()
    with running(["redis-server", *options, "--save", ""], {}, folder):
        for _ in range(200):
            if _redis(port, "PING").strip() == "PONG":
                break
        yield port


def _redis(port: int, *command: str) -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *command], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def _command(peer: Peer, port: int) -> list[str]:
    if peer.program.endswith(".mjs"):
        shutil.copy(Path(__file__).with_name(peer.program), MODULES)
        return ["node", str(MODULES / peer.program)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "error"]
    return [str(PYTHON), "-m", "uvicorn", f"bench.peers.{peer.program}:app", *options]


@dataclass
class PeerDoor:
    """A peer that runs, and how many events were sent to it."""

    peer: Peer
    port: int
    url: str
    redis: int
    process: Process
    events: int = 0

    def send(self, events: int, rate: float | None = None) -> Answers:
        """Send events that were not sent before. Fail unless each is stored, once."""
        first, self.events = self.events, self.events + events
        answers = send(self.port, "create", first, events, rate=rate, connections=128 if rate else 64)
        rows, distinct = self._stored()
        if self.peer.stores and not rows == distinct == self.events:
            raise SystemExit(f"{self.peer.name}: {rows} rows, {distinct} events, not {self.events}")
        return answers

    def _stored(self) -> tuple[int, int]:
        """Return how many rows are stored, and how many different events."""
        if self.peer.queue is None:
            return asyncio.run(_rows(self.url)) if self.peer.stores else (0, 0)
        entries = _redis(self.redis, "LRANGE", self.peer.queue, "0", "-1").split("\n")[:-1]
        if self.peer.queue == "celery":
            bodies = (json.loads(base64.b64decode(json.loads(entry)["body"])) for entry in entries)
            return len(entries), len({body[0][0]["event_time"] for body in bodies})
        return len(entries), len(set(entries))


async def _rows(url: str) -> tuple[int, int]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow("SELECT count(*), count(DISTINCT event_time) FROM events")
        return row[0], row[1]
    finally:
        await connection.close()


async def _create(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


@contextlib.contextmanager
def opened(maker: Databases, peer: Peer) -> Iterator[PeerDoor]:
    """Start a peer on an empty database, and warm it up."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, port = maker.new(POSTGRES), free_port()
        asyncio.run(_create(url))
        queue = stack.enter_context(redis(folder)) if peer.queue else 0
        env = {
            "DATABASE_URL": url,
            "REDIS_URL": f"redis://127.0.0.1:{queue}/0",
            "PORT": str(port),
            "NODE_ENV": "production",
            "PYTHONPATH": str(ROOT),
        }
        process = stack.enter_context(running(_command(peer, port), env, folder))
        wait_ready(port, process)
        door = PeerDoor(peer, port, url, queue, process)
        door.send(WARM_UP)
        yield door
