"""A run of Ada's with Strava's data: shared by the tests of an activity's page."""

from __future__ import annotations

from typing import Any

import msgspec
from web_world import World

from feedzone.domain.effect import StoreDetail, StoreStreams
from feedzone.store import effects
from feedzone.store.stream_codec import encode
from feedzone.strava.payloads import activity

RUN = 5001
POLYLINE = "_p~iF~ps|U_ulLnnqC_mqNvxq`@"
DETAIL: dict[str, Any] = {
    "id": RUN,
    "athlete": {"id": 42},
    "name": "Secret title",
    "sport_type": "Run",
    "type": "Run",
    "start_date": "2026-11-03T06:00:00Z",
    "start_date_local": "2026-11-02T22:00:00Z",
    "timezone": "(GMT-08:00) America/Los_Angeles",
    "distance": 10_000.0,
    "moving_time": 2770,
    "elapsed_time": 2800,
    "total_elevation_gain": 120.0,
    "average_speed": 3.61,
    "average_heartrate": 151.2,
    "average_cadence": 84.0,
    "visibility": "followers_only",
    "gear_id": "g1",
    "device_name": "Watch 9",
    "description": "Along <b>the</b> canal",
    "map": {"polyline": POLYLINE},
    "laps": [
        {"name": "Lap 1", "distance": 5000.0, "moving_time": 1385, "average_speed": 3.61},
        {"name": "Sprint", "distance": 5000.0, "moving_time": 1385, "average_speed": 3.61},
    ],
    "splits_metric": [
        {
            "split": 1,
            "distance": 1001.6,
            "moving_time": 277,
            "average_speed": 3.62,
            "average_heartrate": 149.6,
        },
        {
            "split": 2,
            "distance": 430.0,
            "moving_time": 120,
            "average_speed": 3.58,
            "average_heartrate": 152.0,
        },
    ],
}
STREAMS = {
    "time": {"data": list(range(60))},
    "distance": {"data": [3.6 * n for n in range(60)]},
    "latlng": {"data": [[47.0 + n / 1e4, 8.0 + n / 1e4] for n in range(60)]},
    "altitude": {"data": [400.0 + n for n in range(60)]},
    "velocity_smooth": {"data": [3.6] * 60},
    "heartrate": {"data": [120 + n for n in range(60)]},
}


async def write(world: World, *what: Any) -> None:
    await world.database.write(lambda c: effects.apply(c, what, world.clock.now()))


def detail(cause: str = "backfill", **changes: Any) -> StoreDetail:
    record = activity(msgspec.json.encode(DETAIL | changes), "detail", "GET activities/5001")
    return StoreDetail(record, cause, None, complete=True)


def stream_set(streams: Any = STREAMS, state: Any = "present", activity_id: int = RUN) -> StoreStreams:
    packed = encode(msgspec.json.encode(streams if state == "present" else {}))
    return StoreStreams(activity_id, 42, state, packed.blob, packed.channels, packed.samples)


async def furnish(world: World) -> None:
    await write(world, detail(), stream_set())
