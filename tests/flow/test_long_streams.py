"""Streams of a million samples are stored and served while the event loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from web_world import KEY, RIDE, World

from feedzone import offload
from feedzone.domain.effect import StoreStreams
from feedzone.errors import InvalidInput
from feedzone.ports import Response
from feedzone.store import streams
from feedzone.store.stream_codec import MalformedStreams, encode, encoded
from feedzone.strava import calls, responses

SAMPLES = 1_000_000
LONGEST_SHARE = 0.2
"""Of the whole time in one piece: the loop, which shares two cores with the work, is interrupted itself."""


def long_streams() -> bytes:
    """Return what Strava would send for a million samples."""
    points = [[47 + number % 9973 / 1e5, 8 + number % 9967 / 1e5] for number in range(SAMPLES)]
    channels: dict[str, list[Any]] = {
        "time": list(range(SAMPLES)),
        "latlng": points,
        "altitude": [400 + number % 977 / 10 for number in range(SAMPLES)],
        "heartrate": [90 + number % 97 for number in range(SAMPLES)],
    }
    return msgspec.json.encode({name: {"data": data} for name, data in channels.items()})


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Fail if the loop stood still for more than a share of the time."""
    pauses: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            pauses.append(time.perf_counter() - last)
            last = time.perf_counter()

    watcher = asyncio.create_task(watch())
    start = time.perf_counter()
    yield
    elapsed = time.perf_counter() - start
    await asyncio.sleep(0.01)
    watcher.cancel()
    assert max(pauses) < LONGEST_SHARE * elapsed, f"{max(pauses):.3f} of {elapsed:.3f} s"


@pytest.mark.timeout(240)
async def test_a_million_samples_are_encoded_and_served_beside_the_loop(world: World) -> None:
    await world.store(RIDE)
    body = long_streams()
    async with watched():
        passed = responses.read(Response(200, {}, body), calls.streams(RIDE)).result()
        packed = await encoded(passed)
    assert packed.samples == SAMPLES
    effect = StoreStreams(RIDE, 42, "present", packed.blob, packed.channels, packed.samples)
    await world.database.write(lambda c: streams.store(c, effect, world.clock.now()))
    pieces: list[int] = []
    async with watched():
        served = await _get(world.site, f"/api/v1/activities/{RIDE}/streams", pieces)
    assert max(pieces) <= 256 * 1024
    assert served == body
    async with watched():
        drawn = await world.parts.queries.activity_history.curves(RIDE)
    assert drawn is not None
    assert drawn.samples == SAMPLES


async def _get(site: Litestar, path: str, pieces: list[int]) -> bytes:
    body = bytearray()
    headers = [(name.lower().encode(), value.encode()) for name, value in KEY.items()]
    request = httpx.Request("GET", f"http://127.0.0.1:8000{path}")
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "headers": [*headers, (b"host", request.url.netloc)],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "scheme": "http", "http_version": "1.1",
        "asgi": {"version": "3.0"}, "extensions": {},
    }  # fmt: skip

    messages = iter([None])
    ended = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if next(messages, "read") == "read":
            await ended.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        else:
            pieces.append(len(message.get("body", b"")))
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                ended.set()

    await site(scope, receive, send)  # type: ignore[arg-type]
    return bytes(body)


async def test_equal_values_hide_no_length(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million equal values compress to a few bytes, but to write them out takes as long."""
    asked: list[int | None] = []
    compute = offload.compute

    async def noted(function: Any, data: bytes, *, size: int | None = None) -> Any:
        asked.append(size)
        return await compute(function, data, size=0)

    monkeypatch.setattr(offload, "compute", noted)
    await world.store(RIDE)
    packed = encode(msgspec.json.encode({"time": {"data": [1] * 1_000_000}}))
    assert len(packed.blob) < 10_000
    effect = StoreStreams(RIDE, 42, "present", packed.blob, packed.channels, packed.samples)
    await world.database.write(lambda c: streams.store(c, effect, world.clock.now()))
    await world.parts.queries.activities.streams_json(RIDE)
    assert asked[-1] is not None
    assert asked[-1] >= offload.PROCESS_FROM


def _process_of(_: bytes) -> int:
    return os.getpid()


def _refuse(_: bytes) -> None:
    raise InvalidInput("refused")


def _end(_: bytes) -> None:
    os._exit(3)


async def test_only_large_inputs_need_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await offload.compute(_process_of, b"a") == os.getpid()
    assert await offload.compute(_process_of, b"a" * offload.THREAD_FROM) == os.getpid()
    monkeypatch.setattr(offload, "PROCESS_FROM", 2 * offload.THREAD_FROM)
    assert await offload.compute(_process_of, b"a" * offload.PROCESS_FROM) != os.getpid()
    with pytest.raises(InvalidInput, match="refused"):
        await offload.compute(_refuse, b"a" * offload.PROCESS_FROM)
    with pytest.raises(offload.HelperFailed, match="_end ended with status 3"):
        await offload.compute(_end, b"a" * offload.PROCESS_FROM)


@pytest.mark.parametrize(
    "body",
    [
        b'{"message":"maintenance","pad":"%s"}' % (b"a" * calls.STREAMS_CHECKED),
        b'{"time":{"data":[%s' % (b"1," * calls.STREAMS_CHECKED),
        b'{"time":{"data":"%s"}}' % (b"a" * calls.STREAMS_CHECKED),
        b'{"time":{"no_data":"%s"}}' % (b"a" * calls.STREAMS_CHECKED),
    ],
    ids=["error", "cut short", "text", "without data"],
)
async def test_long_answers_that_are_no_streams_are_not_stored(body: bytes) -> None:
    passed = responses.read(Response(200, {}, body), calls.streams(RIDE)).result()
    with pytest.raises(MalformedStreams):
        await encoded(passed)
