"""Measure the whole way of an activity: `feedzone serve` fetches details and streams, and stores them.

    python -m bench.activities [ACTIVITIES] [ROUNDS]

A stand-in for Strava answers in another process. Print activities a second, the processor time that feedzone
needs for one (ms), and the stored size of one (KB, indexes included), on SQLite.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import msgspec
from aiohttp import web

from .stream_codec import synthetic_run
from .webhook import wait_ready

ATHLETE = 7
SAMPLES = 4200
"""Samples of the streams: 244 KB of JSON."""

EFFORTS = 22
"""Segment efforts of the detail: 29 KB of JSON."""

FIRST = 10_000_000_000


def detail(number: int) -> dict[str, Any]:
    """Return a detail of Strava's shape: a run with splits, laps and segment efforts."""
    start = f"2026-01-{1 + number // 24 % 28:02}T{number % 24:02}:15:00Z"
    totals = {"distance": 12_345.6 + number, "moving_time": 4100, "elapsed_time": 4200}
    effort = {
        "resource_state": 2,
        "name": "Along the river to the old bridge",
        "activity": {"id": FIRST + number, "resource_state": 1},
        "athlete": {"id": ATHLETE, "resource_state": 1},
        "elapsed_time": 321,
        "moving_time": 320,
        "start_date": start,
        "start_date_local": start,
        "distance": 1034.2,
        "start_index": 400,
        "end_index": 721,
        "average_cadence": 84.2,
        "average_heartrate": 151.3,
        "max_heartrate": 163.0,
        "kom_rank": None,
        "pr_rank": None,
        "achievements": [],
        "hidden": False,
    }
    segment = {
        "resource_state": 2,
        "name": "Along the river to the old bridge",
        "activity_type": "Run",
        "distance": 1034.2,
        "average_grade": 0.4,
        "maximum_grade": 6.1,
        "elevation_high": 131.2,
        "elevation_low": 120.4,
        "start_latlng": [48.137154, 11.576124],
        "end_latlng": [48.141154, 11.586124],
        "climb_category": 0,
        "city": "Munich",
        "state": "Bavaria",
        "country": "Germany",
        "private": False,
        "hazardous": False,
        "starred": False,
    }
    split = {
        "distance": 1001.2,
        "elapsed_time": 330,
        "elevation_difference": 1.2,
        "moving_time": 329,
        "split": 1,
    }
    line = "a`bcHsdwdAzBoEdFkGpAiBvCwE" * 120
    return {
        "resource_state": 3,
        "id": FIRST + number,
        "athlete": {"id": ATHLETE, "resource_state": 1},
        "name": f"Morning run {number}",
        **totals,
        "total_elevation_gain": 84.0,
        "type": "Run",
        "sport_type": "Run",
        "start_date": start,
        "start_date_local": start,
        "timezone": "(GMT+01:00) Europe/Berlin",
        "utc_offset": 3600.0,
        "map": {
            "id": f"a{FIRST + number}",
            "polyline": line,
            "summary_polyline": line[:600],
            "resource_state": 3,
        },
        "trainer": False,
        "commute": False,
        "manual": False,
        "private": False,
        "visibility": "everyone",
        "start_latlng": [48.137154, 11.576124],
        "end_latlng": [48.137154, 11.576124],
        "average_speed": 3.01,
        "max_speed": 5.5,
        "has_heartrate": True,
        "average_heartrate": 151.3,
        "max_heartrate": 188.0,
        "device_name": "A watch",
        "segment_efforts": [
            {"id": 3 * FIRST + index, **effort, "segment": {"id": index, **segment}}
            for index in range(EFFORTS)
        ],
        "splits_metric": [dict(split, split=index + 1) for index in range(12)],
        "laps": [{"id": index, **totals, "lap_index": index + 1} for index in range(12)],
    }


class Stand:
    """Just enough of Strava's API; each answer is encoded before the clock starts."""

    def __init__(self, activities: int) -> None:
        self.details = {FIRST + number: msgspec.json.encode(detail(number)) for number in range(activities)}
        self.streams = [msgspec.json.encode(synthetic_run(SAMPLES, seed)) for seed in range(8)]

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/oauth/token", self.token)
        app.router.add_get("/api/v3/athlete/activities", self.listing)
        app.router.add_get("/api/v3/athlete", self.athlete)
        app.router.add_get("/api/v3/activities/{id}", self.activity)
        app.router.add_get("/api/v3/activities/{id}/streams", self.stream)
        return app

    async def token(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "token_type": "Bearer",
                "access_token": "access",
                "refresh_token": "refresh",
                "expires_in": 21600,
                "expires_at": int(time.time()) + 21600,
                "athlete": {"id": ATHLETE, "firstname": "Ada", "lastname": "Runner"},
            }
        )

    async def athlete(self, _: web.Request) -> web.Response:
        return self._json(msgspec.json.encode({"id": ATHLETE, "firstname": "Ada"}))

    async def listing(self, _: web.Request) -> web.Response:
        return self._json(b"[]")

    async def activity(self, request: web.Request) -> web.Response:
        return self._json(self.details[int(request.match_info["id"])])

    async def stream(self, request: web.Request) -> web.Response:
        return self._json(self.streams[int(request.match_info["id"]) % 8])

    def _json(self, body: bytes) -> web.Response:
        limits = {
            "X-RateLimit-Limit": "1000000,10000000",
            "X-RateLimit-Usage": "1,1",
            "X-ReadRateLimit-Limit": "1000000,10000000",
            "X-ReadRateLimit-Usage": "1,1",
        }
        return web.Response(body=body, content_type="application/json", headers=limits)


def stand_in(port: int, activities: int) -> None:
    """Serve the stand-in until the process is terminated."""
    web.run_app(Stand(activities).application(), host="127.0.0.1", port=port, print=None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_ms(process: int) -> float:
    """Return the CPU time of a process so far, in ms."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


async def connect(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(f"{url}/connect", allow_redirects=False) as leaving:
        state = parse_qs(leaving.headers["Location"].partition("?")[2])["state"][0]
        cookies = {name: morsel.value for name, morsel in leaving.cookies.items()}
    params = {"state": state, "code": "1", "scope": "read,activity:read_all"}
    async with session.get(f"{url}/connect/callback", params=params, cookies=cookies) as page:
        assert page.status == 200, await page.text()


async def deliver(session: aiohttp.ClientSession, url: str, number: int) -> None:
    event = {
        "object_type": "activity",
        "object_id": FIRST + number,
        "aspect_type": "create",
        "owner_id": ATHLETE,
        "subscription_id": 1,
        "event_time": int(time.time()),
        "updates": {},
    }
    async with session.post(f"{url}/api/webhooks/strava", json=event) as answer:
        assert answer.status == 200, await answer.text()


def stored(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(
            connection.execute("SELECT count(*) FROM activity_streams WHERE state = 'present'").fetchone()[0]
        )


async def measure(url: str, database: Path, process: int, activities: int) -> tuple[float, float]:
    """Return activities a second and CPU per activity (ms)."""
    async with aiohttp.ClientSession() as session:
        await wait_ready(session, url)
        await connect(session, url)
        await asyncio.sleep(1)
        used, began = cpu_ms(process), time.perf_counter()
        for number in range(activities):
            await deliver(session, url, number)
        while stored(database) < activities:
            if time.perf_counter() - began > 300:
                raise SystemExit(
                    f"only {stored(database)} of {activities} activities were stored within 300 s"
                )
            await asyncio.sleep(0.1)
        elapsed = time.perf_counter() - began
        return activities / elapsed, (cpu_ms(process) - used) / activities


def one_round(activities: int, strava: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        port, database = free_port(), Path(folder) / "bench.db"
        settings = {
            "PATH": os.environ["PATH"],
            **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
            "FEEDZONE_HOME": folder,
            "DATABASE_URL": f"sqlite:///{database}",
            "APP_URL": f"http://127.0.0.1:{port}",
            "STRAVA_CLIENT_ID": "1",
            "STRAVA_CLIENT_SECRET": "bench",
            "STRAVA_RATE_LIMIT": "1000000,10000000",
            "STRAVA_READ_RATE_LIMIT": "1000000,10000000",
            "STRAVA_API_BASE_URL": f"http://127.0.0.1:{strava}/api/v3",
            "STRAVA_OAUTH_BASE_URL": f"http://127.0.0.1:{strava}/oauth",
            "LOG_LEVEL": "WARNING",
        }
        program = str(Path(sys.executable).parent / "feedzone")
        server = subprocess.Popen([program, "serve", "--port", str(port)], env=settings, cwd=folder)
        try:
            rate, cpu = asyncio.run(measure(f"http://127.0.0.1:{port}", database, server.pid, activities))
        finally:
            server.terminate()
            server.wait(20)
        with sqlite3.connect(database) as connection:
            connection.execute("VACUUM")
        return rate, cpu, database.stat().st_size / activities / 1024


def main(activities: int = 200, rounds: int = 3) -> None:
    stand = Stand(1)
    sizes = len(stand.details[FIRST]) / 1024, len(stand.streams[0]) / 1024
    print(f"one activity: detail {sizes[0]:.0f} KB, streams {sizes[1]:.0f} KB")
    port = free_port()
    strava = multiprocessing.Process(target=stand_in, args=(port, activities), daemon=True)
    strava.start()
    try:
        results = [one_round(activities, port) for _ in range(rounds)]
    finally:
        strava.terminate()
        strava.join()
    rate, cpu, size = (statistics.median(column) for column in zip(*results, strict=True))
    print(f"{rate:.0f} activities/s, {cpu:.1f} ms CPU each, {size:.0f} KB stored each (indexes included)")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
