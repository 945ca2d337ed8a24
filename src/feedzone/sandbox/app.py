"""The fake Strava as one ASGI application: routes requests, counts them, and injects faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from html import escape

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
    error_response,
    html_response,
    json_response,
    not_found,
    read_request,
    send_response,
)
from .impostor import distorted, foreign
from .oauth import OAuth
from .pages import Pages
from .push import Push
from .records import Call
from .sender import Sender
from .world import NotFoundError, World

OLD_CALLS_UNTIL = datetime(2027, 6, 1, tzinfo=UTC).timestamp()
"""See docs/strava-api.md#program-and-policy."""


class Sandbox:
    """The routes of Strava's API, its OAuth pages, the sandbox's controls and its home page."""

    def __init__(self, world: World, sender: Sender) -> None:
        self._world = world
        self._sleep = sender.sleep
        self._api = Api(world)
        self._oauth = OAuth(world)
        self._push = Push(world, sender)
        self._control = Control(world, sender)
        self._pages = Pages(world)

    async def handle(self, request: Request) -> Response:
        """Return the response to a request. Raise ConnectionDroppedError if a fault breaks the connection."""
        request = self._world.address.prefixed(request)
        match request.method, request.parts:
            case _, ["oauth", "authorize"] | ["oauth", "mobile", "authorize"]:
                return self._oauth.authorize(request)
            case "POST", ["oauth", "token"] | ["api", "v3", "oauth", "token"]:
                return await self._unmetered("token", request, self._oauth.token)
            case "POST", ["oauth", "revoke"]:
                return await self._unmetered("revoke", request, self._oauth.revoke)
            case "POST", ["oauth", "deauthorize"] | ["api", "v3", "oauth", "deauthorize"] if self._is_old():
                return await self._metered("deauthorize", "/oauth/deauthorize", request, self._deauthorize)
            case _, ["api", "v3", "push_subscriptions", *_]:
                return await self._subscriptions(request)
            case method, ["api", "v3", *rest] if endpoint := endpoint_of(method, rest):
                return await self._data(endpoint, request)
            case _, ["control", *rest]:
                return self._control.handle(request, rest)
            case "GET", []:
                return self._pages.home()
            case "POST", ["ui", action]:
                return self._click(action, request)
        return not_found("Path")

    async def _data(self, endpoint: str, request: Request) -> Response:
        def handler(request: Request, grant: Grant) -> Response:
            return self._api.handle(endpoint, request, grant)

        return await self._metered(endpoint, template_of(endpoint), request, handler)

    async def _metered(self, endpoint: str, template: str, request: Request,
                       handler: Callable[[Request, Grant], Response]) -> Response:  # fmt: skip
        """Handle a bearer's call: count it, check the rate limit, authenticate, then call the handler."""
        world = self._world
        token = self._token(request)
        grant = world.grants.bearer(token, world.clock())
        athlete_id = grant.athlete_id if grant else None

        async def respond() -> Response:
            if not token:
                return error_response(401, "Authorization Error", "Application", "", "invalid")
            # Look the grant up again: the athlete may have disconnected during a slow response.
            admitted = self._admit(world.grants.bearer(token, world.clock()))
            response = handler(request, admitted) if isinstance(admitted, Grant) else admitted
            # Streams carried no rate limit headers in recorded traffic (docs/strava-api.md#streams).
            if endpoint != "streams":
                response.headers += world.meter.headers(world.clock())
            return response

        return await self._with_faults(endpoint, template, request, athlete_id, respond, counted=bool(token))

    def _is_old(self) -> bool:
        """Whether Strava still takes tokens as parameters, and deauthorisations by bearer."""
        return self._world.clock() < OLD_CALLS_UNTIL

    def _token(self, request: Request) -> str:
        """Return the access token; older clients send it as a parameter."""
        header = request.headers.get("authorization", "")
        if header[:7].lower() == "bearer ":
            return header[7:]
        return request.params().get("access_token", "") if self._is_old() else ""

    def _admit(self, grant: Grant | None) -> Grant | Response:
        """Count a call; return its grant, or the error for quota, token or an inactive application."""
        world = self._world
        if budget := world.meter.spend(world.clock()):
            world.journal.over_limit += 1
            return error_response(429, "Rate Limit Exceeded", "Application", budget, "exceeded")
        if grant is None:
            return error_response(401, "Authorization Error", "Athlete", "access_token", "invalid")
        if world.faults.inactive:
            return error_response(403, "Forbidden", "Application", "Status", "Inactive")
        return grant

    async def _unmetered(
        self, endpoint: str, request: Request, handler: Callable[[Request], Response]
    ) -> Response:
        async def respond() -> Response:
            return handler(request)

        return await self._with_faults(endpoint, f"/oauth/{endpoint}", request, None, respond, counted=False)

    async def _subscriptions(self, request: Request) -> Response:
        async def respond() -> Response:
            response = await self._push.handle(request)
            response.headers += self._world.meter.headers(self._world.clock(), full=False)
            return response

        path = "/push_subscriptions" + ("/{id}" if len(request.parts) > 3 else "")
        return await self._with_faults("push_subscriptions", path, request, None, respond, counted=False)

    async def _with_faults(self, endpoint: str, template: str, request: Request, athlete_id: int | None,
                      respond: Callable[[], Awaitable[Response]], counted: bool) -> Response:  # fmt: skip
        """Respond, unless a fault is injected before or after; log the call in either case."""
        world = self._world
        can_fail = counted or endpoint == "push_subscriptions" or world.faults.token_calls_too
        met = world.impostors.met(endpoint, request, world.clock(), world.fault_rng)
        kind = world.faults.request_fault(world.fault_rng) if can_fail else None
        if can_fail and (wait := world.faults.slowness(world.fault_rng)):
            await self._sleep(wait)
        status = 0
        try:
            impostor = world.address.answer_at(request.path) or met
            if kind == "reset_before":
                raise ConnectionDroppedError("reset", acted=False)
            if impostor is not None and (answer := foreign(impostor, request)):
                status = answer.status
                return answer
            server_error = _server_error(kind)
            if server_error is not None and counted and world.meter.spend(world.clock()):
                world.journal.over_limit += 1
            if impostor == "not_found":
                response = server_error or _own_404(await respond())
            else:
                response = server_error or distorted(_unless_token(impostor, counted), await respond())
            if kind in ("reset_after", "timeout_after"):
                raise ConnectionDroppedError("reset" if kind == "reset_after" else "timeout", acted=True)
            status = response.status
            return response
        finally:
            world.journal.add_call(
                endpoint, Call(world.clock(), request.method, template, athlete_id, status)
            )

    def _deauthorize(self, _: Request, grant: Grant) -> Response:
        self._world.deauthorize(grant.athlete_id, by_application=True)
        return json_response({"access_token": grant.access_token})

    def _click(self, action: str, request: Request) -> Response:
        try:
            return self._pages.click(action, request)
        except KeyError as error:
            return html_response(f"<p>The form lacks {escape(str(error))}.</p>", 400)
        except (ValueError, NotFoundError) as error:
            return html_response(f"<p>That did not work: {escape(str(error))}.</p>", 400)


def create_app(world: World, sender: Sender, *, raise_drops: bool = True) -> AsgiApp:
    """Return the sandbox as an ASGI application.

    A dropped connection raises ConnectionDroppedError to in-process callers. With `raise_drops=False`, for a
    real server, the response is truncated instead, and the server then closes the connection.
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
            await _send_truncated(send)
            return
        await send_response(response, send)

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _send_truncated(send: Send) -> None:
    """Announce a body and send none: the client sees the connection close."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9999")]})


def _own_404(response: Response) -> Response:
    """Return Strava's 404 in place of an activity; its rate limit headers stay."""
    if response.status != 200:
        return response
    answer = not_found("Activity")
    answer.headers = response.headers
    return answer


def _unless_token(impostor: str | None, counted: bool) -> str | None:
    """A truncated answer of the token address would lose the pair, as `reset_after` does."""
    return impostor if counted else None


def _server_error(kind: Kind | None) -> Response | None:
    match kind:
        case "error_500":
            return json_response({"message": "error"}, 500)
        case "html_502":
            return Response(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", HTML)
        case "status_597":
            return Response(597, b"<html><body>upstream</body></html>", HTML)
    return None
