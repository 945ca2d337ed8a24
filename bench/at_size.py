"""Time every page, every list of the API and /metrics in a large database.

    python -m bench.at_size [sqlite|postgresql] [--factor 1] [--folder FOLDER]

With `--factor 1` there are 1,000,000 activities, 3,000,000 events and 5,000,000 calls; 0.01 makes a
hundredth. The rows are inserted by SQL statements. FOLDER keeps the databases, so that the next run need not
fill them. The clock of the measured process shows 23:00 UTC, as a day's sums are largest then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import uvicorn
from sqlalchemy import Connection, text

from feedzone.app import App, build, prepare_database
from feedzone.clock import SystemClock
from feedzone.serve import front_door
from feedzone.settings import Settings
from feedzone.store.schema.tables import metadata
from feedzone.web.app import end_streams

from .databases import BOTH, databases

ROUNDS = 5
API_KEY = "a-key-of-the-bench"
DAY_S = 86_400
ROWS = {
    "strava_athletes": 10_000,
    "strava_activities": 1_000_000,
    "webhook_events": 3_000_000,
    "call_log": 5_000_000,
    "activity_changes": 1_000_000,
    "reconciliations": 300_000,
    "jobs": 20_000,
}
AGE_S = {
    "strava_activities": 365 * DAY_S,
    "webhook_events": 30 * DAY_S,
    "call_log": 8 * DAY_S,
    "activity_changes": 30 * DAY_S,
    "reconciliations": 30 * DAY_S,
    "jobs": 600,
}
RIDE, ATHLETE = 77, 78
PATHS = (
    "/",
    "/athletes",
    "/events",
    "/events?status=failed",
    "/events?status=pending",
    "/failures",
    "/health",
    f"/activities/{RIDE}",
    f"/activities/{RIDE}/curves",
    f"/athletes/{ATHLETE}",
    f"/athletes/{ATHLETE}?q=999",
    f"/athletes/{ATHLETE}/disconnect",
    "/api/v1/status",
    "/api/v1/budget",
    "/api/v1/budget/forecast?athletes=100&activities=500",
    "/api/v1/athletes?limit=200",
    "/api/v1/athletes?idle_days=30",
    "/api/v1/athletes?quiet=true",
    f"/api/v1/athletes/{ATHLETE}",
    f"/api/v1/athletes/{ATHLETE}/gear",
    f"/api/v1/athletes/{ATHLETE}/forecast?years=5",
    "/api/v1/activities?limit=200",
    f"/api/v1/activities?athlete_id={ATHLETE}",
    "/api/v1/activities?sport_type=Yoga",
    "/api/v1/activities?updated_since=2026-01-01T00:00:00Z",
    f"/api/v1/activities/{RIDE}",
    "/api/v1/changes?limit=200",
    "/api/v1/changes?since=2026-01-01T00:00:00Z",
    "/api/v1/events?limit=200",
    "/api/v1/events?status=failed",
    "/api/v1/jobs?limit=200",
    "/api/v1/jobs?state=dead",
    "/api/v1/conflicts",
    "/metrics",
    "/readyz",
)


class Late(SystemClock):
    """A clock that begins at 23:00 UTC of the given day."""

    def __init__(self, day: datetime) -> None:
        self._begin = day.replace(hour=23, minute=0, second=0, microsecond=0)
        self._started = time.monotonic()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._begin.timestamp() + time.monotonic() - self._started, UTC)


class Sql(NamedTuple):
    """The expressions that the two databases write differently."""

    series: str
    json: str
    instant: str
    wall: str
    uuid: str


SQLITE = Sql(
    "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})",
    "{}",
    "strftime('%Y-%m-%dT%H:%M:%S.000000Z', {}, 'unixepoch')",
    "strftime('%Y-%m-%dT%H:%M:%S', {}, 'unixepoch')",
    "printf('%08x-%04x-7000-8000-%012x', ({0} * 1000) >> 16, ({0} * 1000) & 65535, n)",
)
POSTGRES = Sql(
    "WITH series AS (SELECT n FROM generate_series(1::bigint, {count}) AS n)",
    "({})::json",
    "to_timestamp({})",
    "to_timestamp({}) AT TIME ZONE 'UTC'",
    "(lpad(to_hex(({0} * 1000) >> 16), 8, '0') || '-' || lpad(to_hex(({0} * 1000) & 65535), 4, '0')"
    " || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
)


def columns(table: str, sql: Sql, at: str, athletes: int, activities: int) -> dict[str, str]:
    """Return the expression of each column for row `n`; `at` is its time in epoch seconds."""
    when, name = sql.instant.format(at), sql.uuid.format(at)
    owner, activity = f"(1 + n * 7919 % {athletes})", f"(1 + n * 104729 % {activities})"
    owner_of_activity = f"(1 + {activity} * 7919 % {athletes})"
    return {
        "strava_athletes": {
            "id": "n",
            "firstname": "'Ada'",
            "lastname": "'Number ' || n",
            "status": "'active'",
            "scopes": "'read,activity:read_all'",
            "connected_at": when,
            "updated_at": when,
            "initial_sync_completed": "true",
            "last_event_at": when,
            "last_verified_at": when,
        },
        "strava_activities": {
            "id": "n",
            "athlete_id": owner,
            "name": "'Activity ' || n",
            "moving_time": "3600",
            "sport_type": "CASE n % 3 WHEN 0 THEN 'Ride' WHEN 1 THEN 'Run' ELSE 'Swim' END",
            "start_date": when,
            "start_date_local": sql.wall.format(at),
            "last_fetched_at": when,
            "distance": "20000.0",
            "total_elevation_gain": "250.0",
            "visibility": "'everyone'",
            "sync_status": "CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'synced' END",
            "webhook_received_at": when,
            "created_at": when,
            "updated_at": when,
        },
        "webhook_events": {
            "id": name,
            "event_data": sql.json.format(
                f"""'{{"object_type":"activity","aspect_type":"update","object_id":' || {activity} || '}}'"""
            ),
            "status": "CASE WHEN n % 1000 = 0 THEN 'failed' "
            "WHEN n % 50 = 0 THEN 'ignored' ELSE 'completed' END",
            "created_at": when,
            "processed_at": sql.instant.format(f"{at} + 2"),
            "attempts": "1",
            "object_type": "'activity'",
            "object_id": activity,
            "aspect_type": "'update'",
            "owner_id": owner_of_activity,
            "subscription_id": "1",
            "event_time": at,
            "dedup_key": "'event ' || n",
            "signature": "'absent'",
            "job_version": "1",
            "job_id": name,
        },
        "call_log": {
            "id": name,
            "sent_at": when,
            "athlete_id": owner_of_activity,
            "activity_id": activity,
            "lane": "CASE n % 4 WHEN 0 THEN 'live' WHEN 1 THEN 'recheck' ELSE 'backfill' END",
            "endpoint": "'GET activities/{id}'",
            "status": "200",
            "ms": "180",
            "counted": "true",
        },
        "activity_changes": {
            "id": name,
            "activity_id": activity,
            "athlete_id": owner_of_activity,
            "field": "'name'",
            "old_value": sql.json.format("'\"Morning Ride\"'"),
            "new_value": sql.json.format("'\"Loop\"'"),
            "changed_at": when,
            "cause": "'reconciliation'",
        },
        "reconciliations": {
            "id": name,
            "athlete_id": owner,
            "ended_at": when,
            "is_full": "false",
            "listed": "10",
            "unannounced": "0",
            "changed": "0",
            "missing": "0",
            "calls": "1",
        },
        "jobs": {
            "id": name,
            "kind": "'refresh_activity'",
            "key": "'activity:' || n",
            "athlete_id": owner,
            "state": "CASE WHEN n % 20 = 0 THEN 'dead' ELSE 'queued' END",
            "hint": sql.json.format("""'{"do":"activity"}'"""),
            "hint_time": "0",
            "priority": "40",
            "fair_position": "n",
            "due_at": when,
            "first_received_at": when,
            "updated_at": when,
            "error_class": "CASE WHEN n % 20 = 0 THEN 'server_error' END",
        },
    }[table]


def insert_rows(
    connection: Connection, name: str, count: int, now: datetime, athletes: int, activities: int
) -> None:
    """Fill one table with one statement, oldest rows first; build its indexes afterwards."""
    sql = SQLITE if connection.dialect.name == "sqlite" else POSTGRES
    table, age = metadata.tables[name], AGE_S.get(name, 400 * DAY_S)
    at = f"CAST({int(now.timestamp()) - age} + n * {age / count} AS BIGINT)"
    values = columns(name, sql, at, athletes, activities)
    indexes = list(table.indexes)
    if sql is POSTGRES:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    for index in indexes:
        index.drop(connection)
    connection.execute(
        text(
            f"INSERT INTO {name} ({', '.join(values)}) {sql.series.format(count=count)} "
            f"SELECT {', '.join(values.values())} FROM series".replace(":", "\\:")
        )
    )
    for index in indexes:
        index.create(connection)


def fill(connection: Connection, factor: float, now: datetime) -> None:
    """Insert the rows of all tables."""
    sizes = {name: max(100, round(count * factor)) for name, count in ROWS.items()}
    for name, count in sizes.items():
        insert_rows(connection, name, count, now, sizes["strava_athletes"], sizes["strava_activities"])
    begin, calls = int(now.timestamp()) - AGE_S["call_log"], sizes["call_log"] * 900 / AGE_S["call_log"]
    shares = {"live": 0.25, "recheck": 0.25, "backfill": 0.5}
    connection.execute(
        metadata.tables["call_counts"].insert(),
        [
            {"quarter": quarter, "lane": lane, "calls": round(calls * share), "in_vain": 0}
            for quarter in range(begin // 900, int(now.timestamp()) // 900)
            for lane, share in shares.items()
        ],
    )
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE"))  # as the server does by itself after a minute


async def opened(url: str, home: Path, factor: float) -> App:
    """Return the app over the database, which is filled first if it is empty."""
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        feedzone_home=home,
        database_url=url,  # type: ignore[arg-type]
        strava_client_id="1",
        strava_client_secret="bench",  # type: ignore[arg-type]
        api_key=API_KEY,  # type: ignore[arg-type]
        strava_rate_limit="100000,1000000",
        strava_read_rate_limit="100000,1000000",
        log_level="WARNING",
    )
    await asyncio.to_thread(prepare_database, settings)
    app = build(settings, clock=Late(datetime.now(UTC)))

    def is_empty(connection: Connection) -> bool:
        return connection.execute(text("SELECT 1 FROM strava_activities LIMIT 1")).first() is None

    if await app.database.read(is_empty):
        started, now = time.perf_counter(), app.clock.now()
        await asyncio.to_thread(app.database.run_sync, lambda c: fill(c, factor, now), answer_s=None)
        await app.database.erase_deleted()  # the log of SQLite is as large as the database
        print(f"filled in {time.perf_counter() - started:.0f} s", flush=True)
    return app


@contextlib.asynccontextmanager
async def served(app: App) -> AsyncIterator[str]:
    door = front_door(app)
    server = uvicorn.Server(uvicorn.Config(door, port=0, log_config=None, lifespan="on", access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        end_streams(door.site)
        server.should_exit = True
        await serving
        await app.close()


async def timed(browser: aiohttp.ClientSession, url: str) -> tuple[float, float]:
    """Return how long a request took, and the CPU time of this process meanwhile, in milliseconds."""
    cpu, start = time.process_time(), time.perf_counter()
    async with browser.get(url) as response:
        body = await response.read()
        assert response.status == 200, (url, body[:500])
    return (time.perf_counter() - start) * 1000, (time.process_time() - cpu) * 1000


async def measure(url: str, home: Path, factor: float) -> None:
    app = await opened(url, home, factor)
    options: Any = {
        "timeout": aiohttp.ClientTimeout(total=300),
        "headers": {"Authorization": f"Bearer {API_KEY}"},
    }
    async with served(app) as address, aiohttp.ClientSession(**options) as browser:
        print("| Address | First ms | Median ms | CPU ms |\n|---|---|---|---|")
        for path in PATHS:
            first, _ = await timed(browser, address + path)
            rounds = [await timed(browser, address + path) for _ in range(ROUNDS)]
            median, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"| `{path}` | {first:.0f} | {median:.0f} | {cpu:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time pages in a large database.")
    parser.add_argument("database", nargs="?", choices=["sqlite", "postgresql"])
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    options: Any = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = [options.database] if options.database else BOTH
        maker = stack.enter_context(databases(names, folder))
        for name in names:
            print(f"\n## {name}", flush=True)
            asyncio.run(measure(maker.lasting(name), folder, options.factor))


if __name__ == "__main__":
    main()
