"""feedzone inside another program: mounted in a Starlette application, read through Engine, as a worker."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import feedzone
from feedzone import Engine, Settings, create_app, run_worker
from feedzone.embed import Application, NotRunning
from feedzone.errors import InvalidInput, NotFound
from processes import free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "embedding.md"
SCOPES = "read,activity:read,activity:read_all"


def settings(strava_url: str, folder: Path, **more: object) -> Settings:
    """Settings given by keyword, and none of this machine's."""
    values: dict[str, object] = {
        "_env_file": None,
        "strava_client_id": "12345",
        "strava_client_secret": "sandbox-secret",
        "strava_api_base_url": f"{strava_url}/api/v3",
        "strava_oauth_base_url": f"{strava_url}/oauth",
        "feedzone_home": folder / "home",
        "queue_poll_interval": 200,
        "api_key": "test-api-key",
    }
    return Settings(**values | more)


@contextlib.asynccontextmanager
async def served(application: object, port: int) -> AsyncIterator[None]:
    """Serve an ASGI application over HTTP in this event loop."""
    server = uvicorn.Server(
        uvicorn.Config(application, port=port, log_config=None, lifespan="on", timeout_graceful_shutdown=2)
    )
    server.capture_signals = contextlib.nullcontext
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def connect(url: str, athlete: int) -> str:
    """Consent in a browser; return the text of the last page."""
    async with httpx.AsyncClient() as browser:
        consent = (await browser.get(f"{url}/connect")).headers["Location"]
        chosen = {"sandbox_athlete": athlete, "sandbox_scope": SCOPES}
        return (await browser.get(httpx.URL(consent).copy_merge_params(chosen), follow_redirects=True)).text


@contextlib.asynccontextmanager
async def host_program(strava_url: str, folder: Path) -> AsyncIterator[tuple[str, Application]]:
    """Another program's Starlette application, with feedzone mounted under /strava."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    inner = create_app(settings(strava_url, folder, app_url=f"{url}/strava"))

    async def heartrate(request: Request) -> JSONResponse:
        streams = await inner.engine.streams(request.path_params["activity_id"])
        return JSONResponse(streams["heartrate"].to_pylist())

    routes = [Route("/heartrate/{activity_id:int}", heartrate), Mount("/strava", app=inner)]
    async with served(Starlette(routes=routes, lifespan=inner.lifespan), port):
        yield url, inner


async def test_an_event_delivered_to_the_mounted_app_becomes_an_activity_with_arrays(
    sandbox, tmp_path, eventually
):
    world = sandbox.world
    athlete = next(iter(world.athletes))
    async with host_program(sandbox.url, tmp_path) as (url, inner):
        assert "is connected" in await connect(f"{url}/strava", athlete)
        await asyncio.to_thread(world.subscribe, f"{url}/strava/api/webhooks/strava")
        ride = world.record(athlete, "Ride", minutes=20)

        async def stored():
            with contextlib.suppress(NotFound):
                activity = await inner.engine.activity(ride.id)
                return activity.streams == "present" and activity

        activity = await eventually(stored, 60)
        assert (activity.athlete_id, activity.sport_type) == (athlete, "Ride")
        streams = await inner.engine.streams(ride.id)
        assert streams["time"].type == pa.int64()
        assert streams["latlng"].type == pa.list_(pa.float64(), 2)
        assert {len(array) for array in streams.values()} == {len(streams["time"])}
        async with httpx.AsyncClient() as program:
            response = await program.get(f"{url}/heartrate/{ride.id}")
            assert response.json() == streams["heartrate"].to_pylist()
            key = {"Authorization": "Bearer test-api-key"}
            over_http = await program.get(f"{url}/strava/api/v1/activities/{ride.id}/streams", headers=key)
            assert over_http.json()["latlng"]["data"] == streams["latlng"].to_pylist()


async def test_an_engine_without_a_worker_reads_and_queues_and_a_worker_does_the_rest(
    sandbox, tmp_path, eventually
):
    athlete = next(iter(sandbox.world.athletes))
    port = free_port()
    options = settings(sandbox.url, tmp_path, app_url=f"http://127.0.0.1:{port}", initial_sync_days=10)
    async with served(create_app(options, worker=False), port):
        await connect(f"http://127.0.0.1:{port}", athlete)
    async with Engine(options) as engine:
        assert [person.id for person in (await engine.athletes()).items] == [athlete]
        assert (await engine.activities(athlete_id=athlete)).items == []
        await engine.sync(athlete, everything=True)
        worker = asyncio.create_task(run_worker(options))

        async def complete():
            return (await engine.athlete(athlete)).progress.completed

        await eventually(complete, 60)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
        truth = {activity["id"] for activity in sandbox.world.truth(athlete)}
        first = await engine.activities(athlete_id=athlete, limit=5)
        rest = await engine.activities(athlete_id=athlete, cursor=first.next_cursor)
        assert {activity.id for activity in (*first.items, *rest.items)} == truth


async def test_errors_of_an_engine_say_what_is_wrong(sandbox, tmp_path):
    engine = Engine(settings(sandbox.url, tmp_path))
    with pytest.raises(NotRunning, match="async with engine"):
        await engine.athletes()
    async with engine:
        with pytest.raises(NotFound):
            await engine.activity(5)
        with pytest.raises(InvalidInput, match="1 to 200"):
            await engine.activities(limit=1000)
    with pytest.raises(NotRunning):
        await engine.athletes()


async def test_an_app_whose_lifespan_was_forgotten_says_so(sandbox, tmp_path):
    application = Starlette(routes=[Mount("/strava", app=create_app(settings(sandbox.url, tmp_path)))])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://test"
    ) as client:
        with pytest.raises(NotRunning, match="lifespan"):
            await client.get("/strava/healthz")


def test_importing_feedzone_imports_none_of_its_parts():
    script = "import feedzone, sys; print([n for n in sys.modules if n.startswith('feedzone.')])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert {name: getattr(feedzone, name) for name in feedzone.__all__}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        feedzone.nothing  # noqa: B018


def test_the_examples_of_the_documentation_run(tmp_path):
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert len(examples) == 4
    mounted = next(example for example in examples if "Mount(" in example)
    reading = next(example for example in examples if "engine.athletes" in example)
    for example in (mounted, reading):
        result = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
