"""Real HTTP: redirects are answers, and a body has a limit."""

from __future__ import annotations

import contextlib

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from feedzone.errors import TransportFailure
from feedzone.ports import Request
from feedzone.strava import transport
from feedzone.strava.transport import HttpTransport


@pytest.fixture
async def server():
    visited: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        visited.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def elsewhere(request: web.Request) -> web.Response:
        visited.append(request.path)
        return web.Response(body=b"x" * 2000)

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_get("/redirect", redirect)
    app.router.add_get("/elsewhere", elsewhere)
    app.router.add_get("/broken", broken)
    async with TestServer(app) as started:
        started.visited = visited
        yield started


@pytest.fixture
async def http():
    made = HttpTransport("test")
    yield made
    await made.close()


def get(server: TestServer, path: str) -> Request:
    return Request("GET", str(server.make_url(path)))


async def test_a_redirect_is_not_followed(server, http):
    answer = await http.send(get(server, "/redirect"), 5)
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")
    assert server.visited == ["/redirect"]


async def test_an_oversized_body_is_no_answer(server, http, monkeypatch):
    assert len((await http.send(get(server, "/elsewhere"), 5)).body) == 2000
    monkeypatch.setattr(transport, "ANSWER_LIMIT", 1999)
    with pytest.raises(TransportFailure, match="more than 1,999 bytes"):
        await http.send(get(server, "/elsewhere"), 5)


async def test_a_truncated_body_is_no_answer(server, http):
    with pytest.raises(TransportFailure):
        await http.send(get(server, "/broken"), 5)


async def test_a_users_netrc_changes_no_call(server, http, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login somebody password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    request = Request("GET", str(server.make_url("/redirect")), {"Authorization": "Bearer token"})
    assert (await http.send(request, 5)).status == 302


async def test_a_proxy_is_used_except_for_the_hosts_of_no_proxy(server, monkeypatch):
    for names, paths in (("", ["/redirect"]), ("strava.example", [])):
        monkeypatch.setenv("http_proxy", str(server.make_url("/")).rstrip("/"))
        monkeypatch.setenv("no_proxy", names)
        server.visited.clear()
        http = HttpTransport("test")
        with contextlib.suppress(TransportFailure):  # nobody answers at strava.example
            await http.send(Request("GET", "http://strava.example/redirect"), 5)
        await http.close()
        assert server.visited == paths
