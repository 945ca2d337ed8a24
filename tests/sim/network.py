"""The simulated network: calls to the sandbox (ports.Transport), and its deliveries to the processes."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from feedzone.errors import CallOverdue, TransportFailure
from feedzone.ports import Request, Response
from feedzone.sandbox import MARK, ConnectionDroppedError, World, request
from feedzone.sandbox.http import AsgiApp

from .ledger import Ledger
from .loop import OWNER, Owner
from .scenario import Scenario
from .trace import Trace

if TYPE_CHECKING:
    from .process import EngineProcess

TOKEN_PATH = "/oauth/token"
ACTIVITY_PATH = re.compile(r"/activities/(\d+)$")


class Internet:
    """Carries calls to the sandbox. The server finishes its part of a call even if the client dies."""

    def __init__(
        self, world: World, app: AsgiApp, scenario: Scenario, ledger: Ledger, trace: Trace, context: Context
    ) -> None:
        self._world = world
        self._app = app
        self._ledger = ledger
        self._trace = trace
        self._context = context
        self._rng = random.Random(f"{world.seed}:internet")
        self._refreshing: Counter[int] = Counter()
        self.scenario = scenario
        self.on_refresh: Callable[[int], None] = lambda athlete_id: None
        """Called with the athlete when a token refresh begins."""
        self.delivered_pairs: dict[int, tuple[str, str]] = {}
        """The newest pair of each athlete that reached a client: the client, and the refresh token."""

    def before_send(self, outgoing: Request) -> None:
        """Note the use of a refresh token that was already replaced when the client sent it."""
        token = (
            (outgoing.form or {}).get("refresh_token") if urlsplit(outgoing.url).path == TOKEN_PATH else None
        )
        if token in self._ledger.rotated:
            self._ledger.stale_uses.append((self._ledger.rotated[token], self._world.clock()))

    async def call(self, client: str, outgoing: Request, timeout: float) -> Response:
        """Carry one request from the client's point of view."""
        path, rng = urlsplit(outgoing.url).path, self._rng
        token = (outgoing.form or {}).get("refresh_token") if path == TOKEN_PATH else None
        owner = self._world.grants.owner_of(token) if token else None
        answer_lost = token is not None and rng.random() < self.scenario.refreshes_lost
        loop = asyncio.get_running_loop()
        if owner is not None:
            # The lease of a killed or stalled process may end while its refresh goes on.
            if owner in self._refreshing and not (self._ledger.kills or self._ledger.stalls):
                self._ledger.concurrent_refreshes.append((owner, self._world.clock()))
            self._refreshing[owner] += 1
            loop.call_soon(self.on_refresh, owner, context=self._context)
        answer: asyncio.Future[Response] = loop.create_future()
        serving = self._serve(client, OWNER.get(), outgoing, path, token, owner, answer_lost, answer)
        task = loop.create_task(serving, context=self._context)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise CallOverdue(f"no answer from the sandbox within {timeout:g} s") from None
        finally:
            answer.cancel()  # if it still arrives, no client waits for it
            del task
            if owner is not None:
                self._refreshing -= Counter([owner])

    async def _serve(
        self,
        client: str,
        life: Owner | None,
        outgoing: Request,
        path: str,
        token: str | None,
        owner: int | None,
        answer_lost: bool,
        answer: asyncio.Future[Response],
    ) -> None:
        """Simulate the way to the server, its work, and the way back."""
        rng, world = self._rng, self._world
        await asyncio.sleep(rng.uniform(0.02, 0.2))
        if rng.random() < self.scenario.api_errors / 20:
            self._trace.note("call", f"{client} {outgoing.method} {path} lost on the way")
            if rng.random() < 0.5:
                _fail(answer, TransportFailure("connection refused", acted=False))
            return
        query = f"?{urlencode(outgoing.params)}" if outgoing.params else ""
        body = urlencode(outgoing.form).encode() if outgoing.form is not None else b""
        try:
            reply = await request(self._app, outgoing.method, path + query, body, dict(outgoing.headers))
        except ConnectionDroppedError as drop:
            self._trace.note("call", f"{client} {outgoing.method} {path} {drop.kind} acted={drop.acted}")
            if drop.acted:
                self._rotation(token, owner, None)
            if drop.kind == "reset":
                _fail(answer, TransportFailure("lost connection to the sandbox"))
            return
        self._trace.note("call", f"{client} {outgoing.method} {path} {reply.status}")
        foreign = reply.headers.pop(MARK[0], None) is not None
        if foreign:
            self._ledger.impersonations.append(asyncio.get_running_loop().time())
        if reply.status in (200, 404) and not foreign and (match := ACTIVITY_PATH.search(path)):
            fetched_at = asyncio.get_running_loop().time()
            self._ledger.fetched.setdefault(int(match[1]), []).append(fetched_at)
            if int(match[1]) not in world.activities:
                self._ledger.for_nothing.append(fetched_at)
            elif reply.status == 200:
                self._ledger.first_shown.setdefault(int(match[1]), fetched_at)
        if reply.status == 200 and path == TOKEN_PATH and not foreign:
            reaches = not (answer_lost or answer.done()) and (
                life is None or (life.alive and not life.stalled)
            )
            self._rotation(token, owner, client if reaches else None)
        if answer_lost:
            return
        await asyncio.sleep(rng.uniform(0.01, 0.15))
        if not answer.done():
            headers = {**reply.headers, "date": _http_date(world.clock())}
            answer.set_result(Response(reply.status, headers, reply.body))

    def _rotation(self, token: str | None, owner: int | None, receiver: str | None) -> None:
        """Note the token that a token call replaced, and the client that received the new pair, if any."""
        if token is None or owner is None or owner not in self._world.grants.live:
            return
        newest = self._world.grants.live[owner].refresh_token
        if newest == token:
            return
        self._ledger.rotated[token] = owner
        if receiver is None:
            self._ledger.lost_pairs[owner] = self._world.clock()
        else:
            self.delivered_pairs[owner] = (receiver, newest)


class SimTransport:
    """The transport of one process: its way to the sandbox (ports.Transport)."""

    def __init__(self, internet: Internet, client: str, pause: Callable[[], Awaitable[None]]) -> None:
        self._internet = internet
        self._client = client
        self._pause = pause

    async def send(self, request: Request, timeout: float) -> Response:
        self._internet.before_send(request)
        await self._pause()
        response = await self._internet.call(self._client, request, timeout)
        await self._pause()
        return response

    async def close(self) -> None:
        """Do nothing: the transport has no connections."""


class ProcessWire:
    """The way of deliveries: a proxy in front of all processes (feedzone.sandbox.Wire)."""

    def __init__(self, seed: int, scenario: Scenario, ledger: Ledger, trace: Trace) -> None:
        self._rng = random.Random(f"{seed}:wire")
        self._ledger = ledger
        self._trace = trace
        self.scenario = scenario
        self.processes: list[EngineProcess] = []

    async def post(self, url: str, body: bytes, headers: dict[str, str], timeout: float) -> int:
        process = self._rng.choice(self.processes)
        await asyncio.sleep(self._rng.uniform(0.01, 0.1))
        event = _format(body)
        if not process.up:
            self._trace.note("delivery", f"{process.name} {event} refused")
            raise ConnectionRefusedError(process.name)
        async with asyncio.timeout(timeout):
            status = await process.deliver(body, headers)
        self._trace.note("delivery", f"{process.name} {event} {status}")
        if self._rng.random() < self.scenario.answer_lost:
            raise ConnectionResetError("the answer was lost")
        return status

    async def get(self, url: str, params: dict[str, str], timeout: float) -> tuple[int, str, bytes]:
        process = next(process for process in self.processes if process.up)
        async with asyncio.timeout(timeout):
            status, body = await process.request("GET", urlsplit(url).path, urlencode(params).encode())
        return status, "application/json", body


def identity(body: bytes) -> tuple[str, int, str, int, int]:
    """Return the fields that identify an event (ledger.Identity)."""
    event = msgspec.json.decode(body)
    names = ("object_type", "object_id", "aspect_type", "owner_id", "event_time")
    return tuple(event[name] for name in names)  # type: ignore[return-value]


def _format(body: bytes) -> str:
    return "{} {} {} of {} at {}".format(*identity(body))


def _fail(answer: asyncio.Future[Any], problem: Exception) -> None:
    if not answer.done():
        answer.set_exception(problem)
        answer.exception()  # mark the exception as seen: the client may be dead


def _http_date(epoch: float) -> str:
    from email.utils import formatdate

    return formatdate(epoch, usegmt=True)
