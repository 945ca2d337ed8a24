"""What the transport accepts from upstream."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from feedzone.errors import AnswerTooLarge, TransportFailure
from feedzone.ports import Request
from feedzone.strava import transport
from feedzone.strava.transport import HttpTransport


@pytest.fixture
async def upstream(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server whose answers are larger than the limit, except one."""
    monkeypatch.setattr(transport, "ANSWER_LIMIT", 1_000_000)

    async def plain(_: web.Request) -> web.Response:
        return web.Response(body=b"a" * 1_000_001)

    async def packed(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"a" * 50_000_000), headers={"Content-Encoding": "gzip"})

    async def chunked(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(40):
            await answer.write(b"a" * 50_000)
        return answer

    async def fits(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"a" * 1_000_000), headers={"Content-Encoding": "gzip"})

    application = web.Application()
    for name, handler in (("plain", plain), ("packed", packed), ("chunked", chunked), ("fits", fits)):
        application.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("path", ["plain", "packed", "chunked"])
async def test_an_answer_over_the_limit_is_a_transient_failure(upstream: str, path: str) -> None:
    client = HttpTransport("test")
    with pytest.raises(AnswerTooLarge, match=r"the answer of 127\.0\.0\.1:\d+ has more than 1,000,000 bytes"):
        await client.send(Request("GET", f"{upstream}/{path}", {}, {}), 10)
    assert issubclass(AnswerTooLarge, TransportFailure)
    await client.close()


async def test_an_answer_up_to_the_limit_is_read_to_its_end(upstream: str) -> None:
    client = HttpTransport("test")
    answer = await client.send(Request("GET", f"{upstream}/fits", {}, {}), 10)
    assert answer.body == b"a" * 1_000_000
    await client.close()
