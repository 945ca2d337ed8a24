"""`make demo` without make: one command, nothing configured, activities arriving."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import aiohttp
import pytest

from processes import FEEDZONE, free_port


@pytest.mark.timeout(120)
async def test_the_demo_shows_activities_arriving_and_stops_on_ctrl_c(tmp_path, eventually):
    port, strava = free_port(), free_port()
    line = [FEEDZONE, "demo", "--port", str(port), "--sandbox-port", str(strava), "--athletes", "2"]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    log = (tmp_path / "log").open("wb")
    demo = subprocess.Popen(line, cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession() as browser:
            url = f"http://127.0.0.1:{port}"

            async def api(path: str):
                try:
                    headers = {"Authorization": "Bearer demo"}
                    async with browser.get(f"{url}/api/v1/{path}", headers=headers) as answer:
                        return await answer.json() if answer.status == 200 else None
                except aiohttp.ClientError:
                    return None

            async def connected():
                listing = await api("athletes")
                done = [a["progress"]["completed"] for a in listing["items"]] if listing else []
                return len(done) == 2 and all(done) and listing

            listing = await eventually(connected, 90)
            athlete = listing["items"][0]["id"]
            recorded = {"athlete_id": athlete, "sport": "Ride", "minutes": 40, "name": "Mine"}
            async with browser.post(f"http://127.0.0.1:{strava}/control/activities", json=recorded) as answer:
                activity = (await answer.json())["id"]

            async def stored():
                return await api(f"activities/{activity}/streams")

            assert await eventually(stored)
            async with browser.get(url) as page:
                assert "Mine" in await page.text()
        demo.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(demo.wait, 20) == 0
    finally:
        if demo.poll() is None:
            demo.kill()
        log.close()
    assert "Traceback" not in (tmp_path / "log").read_text()
