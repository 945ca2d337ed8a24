"""Measure pages: response times in a large database, and the cost of 50 open, idle pages."""

from __future__ import annotations

import asyncio
import json
import math
import re
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from sqlalchemy import Connection, insert

from feedzone.app import build, prepare_database
from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import StoreDetail, StoreStreams
from feedzone.serve import front_door
from feedzone.settings import Settings
from feedzone.store import athletes, effects
from feedzone.store.schema.tables import strava_activities, webhook_events
from feedzone.store.stream_codec import encode
from feedzone.strava import payloads
from feedzone.web.app import end_streams

ACTIVITIES, EVENTS, ATHLETES = 100_000, 1_000_000, 500
DAYS = 365
BATCH = 20_000
ROUNDS = 30
OPEN_PAGES, IDLE_S = 50, 40
SAMPLES = 13_000
RIDE = ACTIVITIES - 1
PATHS = (
    "/",
    "/athletes",
    "/events",
    "/events?status=failed",
    "/failures",
    "/health",
    f"/activities/{RIDE}",
    f"/activities/{RIDE}/curves",
    "/athletes/7",
)
BUSY, BUSY_ACTIVITIES, BUSY_YEARS = ATHLETES, 5000, 10
"""An athlete with many activities in ten years, each with as much JSON as a ride of an hour."""

DETAIL_JSON = json.dumps({"splits": "x" * 15_000})
BUSY_PATHS = ("", "?year=2025", "?q=999", "?sport=Run&state=failed")


def fill(connection: Connection, now: datetime) -> None:
    """Store a year of data of a large installation."""
    for number in range(ATHLETES + 1):
        profile = AthleteProfile(number, f"athlete{number}", "Ada", f"Number {number}")
        athletes.connect(connection, profile, "activity:read_all", "active", None, now)
        athletes.finish_listing(connection, number, now)
    begin = now - timedelta(days=DAYS)
    for first in range(0, ACTIVITIES, BATCH):
        rows = [
            activity(number, number % ATHLETES, begin + timedelta(days=DAYS) * (number / ACTIVITIES), now)
            for number in range(first, first + BATCH)
        ]
        connection.execute(insert(strava_activities), rows)
    for number in range(BUSY_ACTIVITIES):
        at = now - timedelta(days=DAYS * BUSY_YEARS) * (number / BUSY_ACTIVITIES)
        row = activity(ACTIVITIES + number, BUSY, at, now) | {
            "detail": DETAIL_JSON,
            "summary": DETAIL_JSON[:3000],
        }
        connection.execute(insert(strava_activities), [row])
    for first in range(0, EVENTS, BATCH):
        connection.execute(insert(webhook_events), [event(n, begin) for n in range(first, first + BATCH)])


def ride(connection: Connection, now: datetime) -> None:
    """Store one complete activity: a detail with laps, and hours of streams."""
    shape = [math.sin(n / 300) for n in range(SAMPLES)]
    streams: dict[str, list[Any]] = {
        "time": list(range(SAMPLES)),
        "distance": [round(7.7 * n, 1) for n in range(SAMPLES)],
        "latlng": [[round(47 + s / 10, 6), round(8 + n / 1e5, 6)] for n, s in enumerate(shape)],
        "altitude": [round(500 + 80 * s, 1) for s in shape],
        "velocity_smooth": [round(7.7 + 2 * s, 3) for s in shape],
        "heartrate": [round(140 + 20 * s) for s in shape],
        "watts": [round(200 + 90 * s) for s in shape],
        "cadence": [round(85 + 5 * s) for s in shape],
        "temp": [round(15 + 3 * s) for s in shape],
    }
    packed = encode(json.dumps({name: {"data": data} for name, data in streams.items()}).encode())
    laps = [{"name": f"Lap {n}", "distance": 5000.0, "moving_time": 650} for n in range(1, 21)]
    body = {"id": RIDE, "athlete": {"id": RIDE % ATHLETES}, "name": "The long one", "laps": laps}
    body |= {"sport_type": "Ride", "start_date": "2026-11-03T06:00:00Z", "distance": 100_000.0}
    record = payloads.activity(json.dumps(body).encode(), "detail", "bench")
    store_streams = StoreStreams(
        RIDE, RIDE % ATHLETES, "present", packed.blob, packed.channels, packed.samples
    )
    effects.apply(
        connection, [StoreDetail(record, "reconciliation", None, complete=True), store_streams], now
    )


def activity(number: int, athlete_id: int, at: datetime, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "athlete_id": athlete_id,
        "name": f"Activity {number}",
        "sport_type": ("Ride", "Run", "Swim")[number % 3],
        "start_date": at,
        "start_date_local": at.replace(tzinfo=None),
        "distance": 20_000.0,
        "moving_time": 3600,
        "total_elevation_gain": 250.0,
        "sync_status": "synced",
        "last_fetched_at": now,
        "created_at": now,
        "updated_at": now,
    }


def event(number: int, begin: datetime) -> dict[str, Any]:
    at = begin + timedelta(days=DAYS) * (number / EVENTS)
    status = "failed" if number % 1000 == 0 else "completed"
    activity, owner = number % ACTIVITIES, number % ATHLETES
    body = {"object_id": activity, "object_type": "activity", "aspect_type": "update", "owner_id": owner}
    stamp = int(at.timestamp() * 1000)
    return {
        "id": f"{stamp >> 16:08x}-{stamp & 0xFFFF:04x}-7000-8000-{number:012x}",
        "event_data": json.dumps(body),
        "status": status,
        "created_at": at,
        "processed_at": at + timedelta(seconds=2),
        "object_type": "activity",
        "object_id": activity,
        "aspect_type": "update",
        "owner_id": owner,
        "subscription_id": 1,
        "event_time": int(at.timestamp()),
        "dedup_key": f"{number:064x}",
        "signature": "absent",
    }


async def measure(folder: Path) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        feedzone_home=folder,
        database_url=f"sqlite:///{folder / 'bench.db'}",  # type: ignore[arg-type]
        strava_client_id="1",
        strava_client_secret="bench",  # type: ignore[arg-type]
    )
    await asyncio.to_thread(prepare_database, settings)
    app = build(settings)
    now = datetime.now(UTC)
    await asyncio.to_thread(app.database.run_sync, lambda c: fill(c, now))
    await asyncio.to_thread(app.database.run_sync, lambda c: ride(c, now))
    door = front_door(app)
    server = uvicorn.Server(uvicorn.Config(door, port=0, log_config=None, lifespan="on", access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as browser:
        await response_times(browser, url)
        await page_sizes(browser, url)
        await idle(browser, url)
    end_streams(door.site)
    server.should_exit = True
    await serving
    await app.close()


async def response_times(browser: aiohttp.ClientSession, url: str) -> None:
    for path in (*PATHS, *(f"/athletes/{BUSY}{query}" for query in BUSY_PATHS)):
        durations_ms = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            async with browser.get(f"{url}{path}") as response:
                await response.read()
                assert response.status == 200, path
            durations_ms.append((time.perf_counter() - start) * 1000)
        print(
            f"{path:34} median {statistics.median(durations_ms):6.1f} ms, slowest {max(durations_ms):6.1f} ms"
        )


async def page_sizes(browser: aiohttp.ClientSession, url: str) -> None:
    for path in ("/", f"/activities/{RIDE}", f"/athletes/{BUSY}"):
        async with browser.get(f"{url}{path}") as response:
            page = await response.text()
        size = len(page.encode())
        for address in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page)):
            async with browser.get(f"{url}{address}", headers={"Accept-Encoding": "gzip"}) as response:
                size += int(response.headers["Content-Length"])
        print(f"first load of {path}: {size / 1000:.0f} kB")


async def idle(browser: aiohttp.ClientSession, url: str) -> None:
    """Measure open pages as in a browser: each has a stream and reloads when the stream says so."""
    reloads = 0

    async def follow() -> None:
        nonlocal reloads
        digest = ""
        headers = {"HX-Request": "true"}
        async with browser.get(f"{url}/live", timeout=aiohttp.ClientTimeout(total=None)) as stream:
            async for line in stream.content:
                if line.startswith(b"data:"):
                    reloads += 1
                    async with browser.get(f"{url}/", headers=headers | {"X-Seen": digest}) as response:
                        match = re.search(r'data-digest="(\w+)"', await response.text())
                        digest = match.group(1) if match else digest

    pages = [asyncio.create_task(follow()) for _ in range(OPEN_PAGES)]
    await asyncio.sleep(3)
    reloads, cpu, start = 0, time.process_time(), time.perf_counter()
    await asyncio.sleep(IDLE_S)
    share = (time.process_time() - cpu) / (time.perf_counter() - start)
    for page in pages:
        page.cancel()
    print(
        f"{OPEN_PAGES} open, idle pages: {share:.1%} of a core, "
        f"including the {OPEN_PAGES} clients of this benchmark; {reloads} reloads in {IDLE_S} s"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))


if __name__ == "__main__":
    main()
