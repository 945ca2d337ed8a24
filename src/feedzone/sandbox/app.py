"""The fake Strava as one ASGI application: routes a request, meters it, and lets faults strike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .api import Api, endpoint_of, template_of
from .control import Control
from .faults import ConnectionDroppedError, Kind
from .grants import Grant
from .http import (
    HTML,
    AsgiApp,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    answer,
    fault,
    not_found,
    page,
    read_request,
    send_response,
)
from .oauth import OAuth
from .pages import Pages
from .push import Push
from .records import Call
from .sender import Sender
from .world import NotThereError, World


class Sandbox:
    """One application serving Strava's API, its OAuth pages, our controls and a home page."""

    def __init__(self, world: World, sender: Sender) -> None:
        self._world = world
        self._sleep = sender.sleep
        self._api = Api(world)
        self._oauth = OAuth(world)
        self._push = Push(world, sender)
        self._control = Control(world, sender)
        self._pages = Pages(world)

    async def handle(self, request: Request) -> Response:
        """Answer a request. ConnectionDroppedError when a fault breaks the connection instead."""
        match request.method, request.parts:
            case _, ["oauth", "authorize"] | ["oauth", "mobile", "authorize"]:
                return self._oauth.authorize(request)
            case "POST", ["oauth", "token"] | ["api", "v3", "oauth", "token"]:
                return await self._plain("token", request, self._oauth.token)
            case "POST", ["oauth", "revoke"]:
                return await self._plain("revoke", request, self._oauth.revoke)
            case "POST", ["oauth", "deauthorize"] | ["api", "v3", "oauth", "deauthorize"]:
                return await self._metered("deauthorize", "/oauth/deauthorize", request, self._deauthorize)
            case _, ["api", "v3", "push_subscriptions", *_]:
                return await self._subscriptions(request)
            case method, ["api", "v3", *rest] if endpoint := endpoint_of(method, rest):
                return await self._data(endpoint, request)
            case _, ["control", *rest]:
                return self._control.answer(request, rest)
            case "GET", []:
                return self._pages.home()
            case "POST", ["ui", action]:
                return self._press(action, request)
        return not_found("Path")

    async def _data(self, endpoint: str, request: Request) -> Response:
        def act(request: Request, grant: Grant) -> Response:
            return self._api.answer(endpoint, request, grant)

        return await self._metered(endpoint, template_of(endpoint), request, act)

    async def _metered(self, endpoint: str, template: str, request: Request,
                       act: Callable[[Request, Grant], Response]) -> Response:  # fmt: skip
        """A bearer's call: counted first, refused when a window is spent, then authenticated, then done."""
        world = self._world
        header = request.headers.get("authorization", "")
        token = header[7:] if header[:7].lower() == "bearer " else ""
        grant = world.grants.bearer(token, world.clock())
        athlete_id = grant.athlete_id if grant else None

        async def work() -> Response:
            if not token:
                return fault(401, "Authorization Error", "Application", "", "invalid")
            # Looked up again: a slow answer may outlive the connection.
            gate = self._gate(world.grants.bearer(token, world.clock()))
            response = act(request, gate) if isinstance(gate, Grant) else gate
            # Streams carried no limit headers in recorded traffic (contract section 7).
            if endpoint != "streams":
                response.headers += world.meter.headers(world.clock())
            return response

        return await self._struck(endpoint, template, request, athlete_id, work, counted=bool(token))

    def _gate(self, grant: Grant | None) -> Grant | Response:
        """What stands before any metered call: the quota, the token, the state of the application."""
        world = self._world
        if budget := world.meter.spend(world.clock()):
            world.journal.over_limit += 1
            return fault(429, "Rate Limit Exceeded", "Application", budget, "exceeded")
        if grant is None:
            return fault(401, "Authorization Error", "Athlete", "access_token", "invalid")
        if world.faults.inactive:
            return fault(403, "Forbidden", "Application", "Status", "Inactive")
        return grant

    async def _plain(self, endpoint: str, request: Request, act: Callable[[Request], Response]) -> Response:
        async def work() -> Response:
            return act(request)

        return await self._struck(endpoint, f"/oauth/{endpoint}", request, None, work, counted=False)

    async def _subscriptions(self, request: Request) -> Response:
        async def work() -> Response:
            response = await self._push.answer(request)
            response.headers += self._world.meter.headers(self._world.clock(), full=False)
            return response

        path = "/push_subscriptions" + ("/{id}" if len(request.parts) > 3 else "")
        return await self._struck("push_subscriptions", path, request, None, work, counted=False)

    async def _struck(self, endpoint: str, template: str, request: Request, athlete_id: int | None,
                      work: Callable[[], Awaitable[Response]], counted: bool) -> Response:  # fmt: skip
        """Do the work, unless a fault strikes before or after it; remember the call either way."""
        world = self._world
        strikes = counted or endpoint == "push_subscriptions" or world.faults.token_calls_too
        kind = world.faults.request_fault(world.fault_rng) if strikes else None
        if strikes and (wait := world.faults.slowness(world.fault_rng)):
            await self._sleep(wait)
        status = 0
        try:
            if kind == "reset_before":
                raise ConnectionDroppedError("reset", acted=False)
            broken = _broken(kind)
            if broken is not None and counted and world.meter.spend(world.clock()):
                world.journal.over_limit += 1
            response = broken or await work()
            if kind in ("reset_after", "timeout_after"):
                raise ConnectionDroppedError("reset" if kind == "reset_after" else "timeout", acted=True)
            status = response.status
            return response
        finally:
            world.journal.call(endpoint, Call(world.clock(), request.method, template, athlete_id, status))

    def _deauthorize(self, _: Request, grant: Grant) -> Response:
        self._world.deauthorize(grant.athlete_id, by_application=True)
        return answer({"access_token": grant.access_token})

    def _press(self, action: str, request: Request) -> Response:
        try:
            return self._pages.press(action, request)
        except KeyError as error:
            return page(f"<p>The form lacks {error}.</p>", 400)
        except (ValueError, NotThereError) as error:
            return page(f"<p>That did not work: {type(error).__name__}.</p>", 400)


def create_app(world: World, sender: Sender, *, raise_drops: bool = True) -> AsgiApp:
    """The sandbox as an ASGI application.

    In-process transports see ConnectionDroppedError as it is raised. With `raise_drops=False`, for a real
    server, the answer is cut short instead, on which the server closes the connection.
    """
    sandbox = Sandbox(world, sender)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request = await read_request(scope, receive)
        try:
            response = await sandbox.handle(request)
        except ConnectionDroppedError:
            if raise_drops:
                raise
            await _cut_short(send)
            return
        await send_response(response, send)

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _cut_short(send: Send) -> None:
    """Promise a body and end without one: the client sees the connection close."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9999")]})


def _broken(kind: Kind | None) -> Response | None:
    match kind:
        case "error_500":
            return answer({"message": "error"}, 500)
        case "html_502":
            return Response(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", HTML)
        case "status_597":
            return Response(597, b"<html><body>upstream</body></html>", HTML)
    return None
