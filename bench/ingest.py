"""Measure durable ingest: events per second and CPU time per event, from the request to the stored job.

    python -m bench.ingest --databases postgresql --where here --events 5000 --rounds 3

`feedzone serve` takes create and update events over 64 connections on each database. The dispatcher runs in
the same process, or in another one (`serve --no-worker` beside `work`). Strava is switched off for the run,
so no job calls anybody. `python -m bench` measures the same beside other programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import insert, text

from feedzone.domain.athlete import AthleteProfile
from feedzone.store import athletes
from feedzone.store.engine.database import Connection, Database, open_database
from feedzone.store.schema.tables import application_state, strava_activities

from .databases import Databases, databases
from .load import ACTIVITIES, ATHLETES, Answers, Kind, send
from .processes import Process, cpu_s, feedzone, feedzone_settings, free_port, running, wait_ready

DRAINED_WITHIN_S = 180.0
NOBODY = 9
"""A port at which no Strava answers."""

HEAD = """\
| Database | Event | Dispatcher | Events/s | p50 ms | p99 ms | CPU us, door | CPU us, other | Dispatched/s |
|---|---|---|---|---|---|---|---|---|"""

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


def fill(connection: Connection) -> None:
    """Store athletes and activities, and switch all calls to Strava off."""
    now = datetime.now(UTC)
    for number in range(1, ATHLETES + 1):
        athletes.connect(connection, AthleteProfile(number), "activity:read", "active", None, now)
    row = {"name": "Ride", "sport_type": "Ride", "type": "Ride", "sync_status": "synced"}
    stamps = {"created_at": now, "updated_at": now, "last_event_time": 1, "private": False}
    connection.execute(
        insert(strava_activities),
        [row | stamps | {"id": 1 + n, "athlete_id": 1 + (1 + n) % ATHLETES} for n in range(ACTIVITIES)],
    )
    later = now.replace(year=now.year + 1)
    connection.execute(application_state.update().values(inactive_since=now, probe_at=later, reason="bench"))


WAITING = text("SELECT count(*) FROM webhook_events WHERE status = 'pending' AND job_id IS NULL")
STORED = text("SELECT count(*) FROM webhook_events")


@dataclass
class Door:
    """feedzone under load: the processes, and the database behind them."""

    port: int
    url: str
    door: Process
    worker: Process | None
    database: Database
    events: int = 0
    """Events that were sent so far: each must be stored, once."""
    refused: int = 0

    def count(self, query: Any = WAITING) -> int:
        return int(self.database.run_sync(lambda c: c.execute(query).scalar_one()))

    def cpu_s(self) -> tuple[float, float]:
        return cpu_s(self.door), cpu_s(self.worker) if self.worker else 0.0

    def send(self, kind: Kind, events: int, **how: Any) -> Answers:
        """Send events that were not sent before. Fail if one is missing afterwards or was stored twice."""
        first, self.events = self.events, self.events + events
        answers = send(self.port, kind, first, events, **how)
        self.refused += answers["refused"]
        if (stored := self.count(STORED)) != self.events:
            raise SystemExit(f"{stored} events are stored, not {self.events}")
        return answers

    def drain(self) -> None:
        """Wait until every event has its job."""
        end = time.monotonic() + DRAINED_WITHIN_S
        while self.count():
            if time.monotonic() > end:
                raise SystemExit(f"{self.count()} events have no job after {DRAINED_WITHIN_S:.0f} s")
            time.sleep(0.05)


@contextlib.contextmanager
def opened(maker: Databases, name: str, where: Where) -> Iterator[Door]:
    """Start feedzone on a new database, and send the first events to warm it up."""
    url, port = maker.prepared(name), free_port()
    database = open_database(url)
    database.run_sync(fill)
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        env = feedzone_settings(url, home, port, NOBODY)
        serve = feedzone("serve", "--port", str(port), *(["--no-worker"] if where == "elsewhere" else []))
        door = stack.enter_context(running(serve, env, home))
        other = stack.enter_context(running(feedzone("work"), env, home)) if where == "elsewhere" else None
        wait_ready(port, door)
        running_door = Door(port, url, door, other, database)
        running_door.send("create", 500)
        running_door.drain()
        yield running_door
    asyncio.run(database.close())


def measure(door: Door, kind: Kind, events: int) -> Figures:
    """Send events over 64 connections, and wait until all are dispatched."""
    before = door.cpu_s()
    answers = door.send(kind, events)
    started = time.perf_counter() - answers["took_s"]
    door.drain()
    used = [after - start for start, after in zip(before, door.cpu_s(), strict=True)]
    times = answers["times_s"]
    return Figures(
        events / answers["took_s"],
        statistics.median(times) * 1000,
        times[int(len(times) * 0.99)] * 1000,
        used[0] / events * 1e6,
        used[1] / events * 1e6,
        events / (time.perf_counter() - started),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--kinds", default="create,update")
    parser.add_argument("--where", default="elsewhere,here")
    parser.add_argument("--events", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen: Any = parser.parse_args(arguments)
    names, kinds = chosen.databases.split(","), chosen.kinds.split(",")
    rounds: dict[tuple[str, str, str], list[Figures]] = {}
    with databases(names) as maker:
        for _ in range(chosen.rounds):  # interleaved, so that a noisy minute does not hit one case alone
            for name in names:
                for where in chosen.where.split(","):
                    with opened(maker, name, where) as door:
                        for kind in kinds:
                            figures = measure(door, kind, chosen.events)
                            rounds.setdefault((name, kind, where), []).append(figures)
    print(HEAD)
    for (name, kind, where), each in rounds.items():
        rate, p50, p99, at_door, at_worker, drained = (
            statistics.median(values) for values in zip(*map(astuple, each), strict=True)
        )
        print(
            f"| {name} | {kind} | {where} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {at_door:.0f} "
            f"| {at_worker:.0f} | {drained:,.0f} |"
        )


if __name__ == "__main__":
    main()
