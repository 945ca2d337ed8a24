"""A stand-in for Strava that answers details and streams of any activity, in a process of its own.

    python -m bench.stand_in PORT DELAY_MS ATHLETES

Each answer is encoded before the clock starts, so that the stand-in costs little.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import string
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from .load import NEW
from .processes import ROOT, free_port, python_path, running, wait_ready
from .stream_codec import synthetic_run

SAMPLES = 3754
"""Samples of the streams: 244 KB of JSON."""

EFFORTS = 27
"""Segment efforts of the detail: 29 KB of JSON."""

SHAPES = 48
"""Different details; the ids in them are those of the request."""

ATHLETE = 7_777_777

LETTERS = string.ascii_letters + "_`?@[]^{|}~"
WORDS = [
    "river",
    "bridge",
    "park",
    "hill",
    "climb",
    "loop",
    "old",
    "north",
    "south",
    "mill",
    "station",
    "field",
    "lake",
    "sprint",
    "road",
    "wood",
]


def effort(rng: random.Random, number: int, start: str) -> dict[str, Any]:
    """Return one segment effort of an activity."""
    name = " ".join(rng.choice(WORDS) for _ in range(4)).capitalize()
    segment = {
        "id": rng.randint(10**6, 10**8),
        "resource_state": 2,
        "name": name,
        "activity_type": "Run",
        "distance": round(rng.uniform(300, 4000), 1),
        "average_grade": round(rng.uniform(-4, 4), 1),
        "maximum_grade": round(rng.uniform(4, 12), 1),
        "elevation_high": round(rng.uniform(120, 200), 1),
        "elevation_low": round(rng.uniform(60, 120), 1),
        "start_latlng": place(rng),
        "end_latlng": place(rng),
        "climb_category": 0,
        "city": "Munich",
        "state": "Bavaria",
        "country": "Germany",
        "private": False,
        "hazardous": False,
        "starred": False,
    }
    return {
        "id": rng.randint(10**18, 10**19),
        "resource_state": 2,
        "name": name,
        "activity": {"id": NEW + number, "resource_state": 1},
        "athlete": {"id": ATHLETE, "resource_state": 1},
        "elapsed_time": rng.randint(60, 900),
        "moving_time": rng.randint(60, 900),
        "start_date": start,
        "start_date_local": start,
        "distance": round(rng.uniform(300, 4000), 1),
        "start_index": rng.randint(0, 1500),
        "end_index": rng.randint(1500, 3700),
        "average_cadence": round(rng.uniform(75, 90), 1),
        "average_heartrate": round(rng.uniform(130, 170), 1),
        "max_heartrate": float(rng.randint(160, 190)),
        "kom_rank": None,
        "pr_rank": None,
        "achievements": [],
        "hidden": False,
        "segment": segment,
    }


def place(rng: random.Random) -> list[float]:
    return [round(rng.uniform(48, 49), 6), round(rng.uniform(11, 12), 6)]


def detail(number: int) -> dict[str, Any]:
    """Return a detail of Strava's shape: a run with splits, laps and segment efforts.

    Its numbers differ as recorded ones do, so that it does not compress better than they do.
    """
    rng = random.Random(number)
    start = f"2026-01-{1 + number // 24 % 28:02}T{number % 24:02}:15:00Z"
    totals = {"distance": 12_345.6 + number, "moving_time": 4100, "elapsed_time": 4200}
    split = {
        "distance": 1001.2,
        "elapsed_time": 330,
        "elevation_difference": 1.2,
        "moving_time": 329,
        "split": 1,
    }
    line = "".join(rng.choices(LETTERS, k=3000))
    return {
        "resource_state": 3,
        "id": NEW + number,
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
            "id": f"a{NEW + number}",
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
        "segment_efforts": [effort(rng, number, start) for _ in range(EFFORTS)],
        "splits_metric": [
            dict(split, split=index + 1, moving_time=rng.randint(290, 360)) for index in range(12)
        ],
        "laps": [{"id": index, **totals, "lap_index": index + 1} for index in range(12)],
    }


class Stand:
    """Just enough of Strava's API. The owner of an activity follows from its id, as in bench/load.py."""

    def __init__(self, delay_s: float = 0.0, athletes: int = 1) -> None:
        self._delay_s, self._athletes = delay_s, athletes
        self.details = [msgspec.json.encode(detail(number)) for number in range(SHAPES)]
        self.streams = [msgspec.json.encode(synthetic_run(SAMPLES, seed)) for seed in range(8)]

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/readyz", self.listing)
        app.router.add_post("/oauth/token", self.token)
        app.router.add_get("/api/v3/athlete/activities", self.listing)
        app.router.add_get("/api/v3/athlete", self.athlete)
        app.router.add_get("/api/v3/activities/{id}", self.activity)
        app.router.add_get("/api/v3/activities/{id}/streams", self.stream)
        return app

    async def token(self, request: web.Request) -> web.Response:
        """Grant a token. The code of a consent is the athlete's id, and so is the end of a refresh token."""
        form = await request.post()
        athlete = str(form.get("code") or form.get("refresh_token")).rpartition("-")[2]
        return web.json_response(
            {
                "token_type": "Bearer",
                "access_token": f"access-{athlete}",
                "refresh_token": f"refresh-{athlete}",
                "expires_in": 21600,
                "expires_at": int(time.time()) + 21600,
                "athlete": {"id": int(athlete), "firstname": "Ada", "lastname": "Runner"},
            }
        )

    async def athlete(self, request: web.Request) -> web.Response:
        athlete = request.headers.get("Authorization", "1").rpartition("-")[2]
        return await self._json(msgspec.json.encode({"id": int(athlete), "firstname": "Ada"}))

    async def listing(self, _: web.Request) -> web.Response:
        return await self._json(b"[]")

    async def activity(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        shape = number % SHAPES
        body = self.details[shape].replace(b"%d" % (NEW + shape), b"%d" % number)
        return await self._json(body.replace(b"%d" % ATHLETE, b"%d" % (1 + number % self._athletes)))

    async def stream(self, request: web.Request) -> web.Response:
        return await self._json(self.streams[int(request.match_info["id"]) % 8])

    async def _json(self, body: bytes) -> web.Response:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        limits = {
            "X-RateLimit-Limit": "1000000,10000000",
            "X-RateLimit-Usage": "1,1",
            "X-ReadRateLimit-Limit": "1000000,10000000",
            "X-ReadRateLimit-Usage": "1,1",
        }
        return web.Response(body=body, content_type="application/json", headers=limits)


@contextlib.contextmanager
def strava(delay_ms: float = 0.0, athletes: int = 1) -> Iterator[int]:
    """Run the stand-in; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.stand_in", str(port), str(delay_ms), str(athletes)]
    with running(command, python_path(), ROOT) as process:
        wait_ready(port, process)
        yield port


def main(port: int, delay_ms: float, athletes: int) -> None:
    stand = Stand(delay_ms / 1000, athletes)
    web.run_app(stand.application(), host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
