"""Recorded responses of Strava pass through all of feedzone, from event to API, unchanged."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from processes import API_KEY

FILES = {
    "run": ("activity_run_detailed.json", "activity_run_streams_distance.json"),
    "ride": ("activity_ride_detailed.json", None),
    "swim": ("activity_swim_detailed.json", None),
}


class StandIn:
    """A server with just enough of Strava's API to serve recorded bytes; records the requests."""

    def __init__(self, recorded: Path) -> None:
        self.bodies = {}
        self.streams = {}
        self.requested: list[str] = []
        for name, (detail, streams) in FILES.items():
            body = (recorded / detail).read_bytes()
            activity = json.loads(body)
            setattr(self, name, activity)
            self.bodies[activity["id"]] = body
            if streams:
                self.streams[activity["id"]] = (recorded / streams).read_bytes()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/oauth/token", self.token)
        app.router.add_get("/api/v3/athlete/activities", self.listing)
        app.router.add_get("/api/v3/activities/{id}", self.activity)
        app.router.add_get("/api/v3/activities/{id}/streams", self.stream)
        return app

    async def token(self, request: web.Request) -> web.Response:
        athlete = int(parse_qs(await request.text())["code"][0])
        return web.json_response(
            {
                "token_type": "Bearer",
                "access_token": f"access{athlete}",
                "refresh_token": f"refresh{athlete}",
                "expires_at": int(time.time()) + 21600,
                "expires_in": 21600,
                "athlete": {"id": athlete, "firstname": "Recorded", "lastname": None},
            }
        )

    async def listing(self, _request: web.Request) -> web.Response:
        return web.json_response([])

    async def activity(self, request: web.Request) -> web.Response:
        self.requested.append(request.path)
        body = self.bodies[int(request.match_info["id"])]
        odd = {"X-ReadRateLimit-Usage": ","}
        return web.Response(body=body, content_type="application/json", headers=odd)

    async def stream(self, request: web.Request) -> web.Response:
        self.requested.append(request.path)
        body = self.streams.get(int(request.match_info["id"]))
        if body is None:
            fault = {"resource": "Activity", "field": "", "code": "not found"}
            return web.json_response({"message": "Resource Not Found", "errors": [fault]}, status=404)
        return web.Response(body=body, content_type="application/json")


@pytest.fixture
async def strava(recorded: Path) -> AsyncIterator[tuple[StandIn, str]]:
    stand_in = StandIn(recorded)
    runner = web.AppRunner(stand_in.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield stand_in, f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def connect(feedzone, athlete: int) -> None:
    """Connect an athlete; the stand-in accepts the athlete's id as the code."""
    async with feedzone.browser.get(f"{feedzone.url}/connect", allow_redirects=False) as leaving:
        query = parse_qs(leaving.headers["Location"].partition("?")[2])
        cookies = {name: morsel.value for name, morsel in leaving.cookies.items()}
    params = {"state": query["state"][0], "code": str(athlete), "scope": "read,activity:read_all"}
    url = f"{feedzone.url}/connect/callback"
    async with feedzone.browser.get(url, params=params, cookies=cookies) as page:
        assert page.status == 200, await page.text()


async def deliver(feedzone, activity: dict) -> None:
    event = {
        "object_type": "activity",
        "object_id": activity["id"],
        "aspect_type": "create",
        "owner_id": activity["athlete"]["id"],
        "subscription_id": 120475,
        "event_time": 1516126040,
        "updates": {},
    }
    async with feedzone.browser.post(f"{feedzone.url}/api/webhooks/strava", json=event) as answer:
        assert answer.status == 200


async def test_a_recorded_run_ride_and_swim_are_served_as_strava_sent_them(strava, install, eventually):
    stand_in, url = strava
    feedzone = install(url)
    await feedzone.start()
    for activity in (stand_in.run, stand_in.ride, stand_in.swim):
        await connect(feedzone, activity["athlete"]["id"])
        await deliver(feedzone, activity)

        async def synced(activity_id=activity["id"]):
            status, output = await feedzone.api(f"activities/{activity_id}")
            return output if status == 200 and output["sync_status"] == "synced" else None

        output = await eventually(synced)
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{feedzone.url}/api/v1/activities/{activity['id']}"
        async with feedzone.browser.get(url, headers=headers) as page:
            assert stand_in.bodies[activity["id"]] in await page.read()  # byte for byte
        assert output["detail"] == activity
        for column in ("name", "distance", "moving_time", "total_elevation_gain", "sport_type"):
            assert output[column] == activity[column]


async def test_recorded_streams_are_served_as_strava_sent_them(strava, install, eventually):
    stand_in, url = strava
    feedzone = install(url)
    await feedzone.start()
    await connect(feedzone, stand_in.run["athlete"]["id"])
    await deliver(feedzone, stand_in.run)

    async def streams():
        status, output = await feedzone.api(f"activities/{stand_in.run['id']}/streams")
        return output if status == 200 else None

    output = await eventually(streams)
    assert output == json.loads(stand_in.streams[stand_in.run["id"]])
    assert len(output["distance"]["data"]) == 13129


async def test_recorded_times_become_instants_wall_times_and_zone_names(strava, install, eventually):
    stand_in, url = strava
    feedzone = install(url)
    await feedzone.start()
    await connect(feedzone, stand_in.ride["athlete"]["id"])
    await deliver(feedzone, stand_in.ride)

    async def synced():
        status, output = await feedzone.api(f"activities/{stand_in.ride['id']}")
        return output if status == 200 and output["sync_status"] == "synced" else None

    output = await eventually(synced)
    assert output["start_date"].startswith("2022-05-14T18:21:19")
    assert output["start_date_local"] == "2022-05-14T14:21:19"
    assert output["timezone"] == "America/New_York"
    assert output["utc_offset"] == -14400


async def test_a_manual_swim_costs_one_call(strava, install, eventually):
    stand_in, url = strava
    feedzone = install(url)
    await feedzone.start()
    await connect(feedzone, stand_in.swim["athlete"]["id"])
    await deliver(feedzone, stand_in.swim)

    async def synced():
        status, output = await feedzone.api(f"activities/{stand_in.swim['id']}")
        return status == 200 and output["sync_status"] == "synced"

    await eventually(synced)
    assert stand_in.requested == [f"/api/v3/activities/{stand_in.swim['id']}"]
