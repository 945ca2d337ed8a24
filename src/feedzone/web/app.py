"""The Litestar application: API, pages, sign-in, health and assets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request, Router
from litestar.datastructures import MutableScopeHeaders
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig
from litestar.types import Message, Scope

from .. import __version__
from .api.router import api_router
from .assets import Assets, assets_router
from .auth.access import Access, Connection, anyone
from .auth.csrf import Csrf, csrf_token
from .auth.sign_in import signin_router
from .auth.strava_connect import oauth_router
from .auth.viewer import Viewer
from .context import WebParts
from .pages.actions import actions_router
from .pages.activity import activity_router
from .pages.athlete import athlete_router
from .pages.me import me_router
from .pages.operator import live_router, pages_router
from .probes import health_router
from .problems import HANDLERS
from .rendering import calendar_filters, filters
from .rendering.live import Live
from .rendering.page_renderer import PageRenderer

HERE = Path(__file__).parent

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:{tiles}; base-uri 'none'; object-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def create_litestar(parts: WebParts) -> Litestar:
    """Build the application. Call `end_streams` before its server waits for connections to close."""
    assets = Assets(HERE / "static")
    environment = _environment(assets)
    engine = JinjaTemplateEngine.from_environment(environment)
    environment.globals["csrf_token"] = csrf_token  # instead of Litestar's
    application = Litestar(
        [
            api_router(),
            oauth_router(),
            signin_router(),
            pages_router(),
            athlete_router(),
            live_router(),
            actions_router(),
            me_router(),
            activity_router(),
            health_router(),
            assets_router(assets),
        ],
        guards=[_guard],
        dependencies={
            "parts": Provide(_of_state("parts"), sync_to_thread=False),
            "renderer": Provide(_of_state("renderer"), sync_to_thread=False),
            "live": Provide(_of_state("live"), sync_to_thread=False),
            "viewer": Provide(_viewer, sync_to_thread=False),
        },
        exception_handlers=HANDLERS,
        before_send=[_protect],
        on_shutdown=[end_streams],
        template_config=TemplateConfig(instance=engine),
        middleware=[Csrf],
        openapi_config=_openapi(environment, parts.options.base_path),
        # telemetry.py configures logging; Litestar would install handlers of its own.
        logging_config=None,
        debug=False,
    )
    application.state["environment"] = environment
    connect_parts(application, parts)
    return application


def connect_parts(application: Litestar, parts: WebParts) -> None:
    """Let the routes work with these parts from now on; their APP_URL must have the same path as before."""
    options, clock = parts.options, parts.clock
    live = Live(parts.queries.status.stamp, clock)
    application.state.update(
        parts=parts,
        options=options,
        live=live,
        access=Access(options, clock, parts.sessions),
        renderer=PageRenderer(application.state.environment, live, options, clock),
        policy=CONTENT_POLICY.format(tiles=f" {options.tile_host}".rstrip()),
    )


def end_streams(application: Litestar) -> None:
    """End the streams of open pages, so that a stopping server does not wait for them."""
    application.state.live.close()


def _of_state(name: str) -> Callable[[Request[Any, Any, Any]], Any]:
    """Return a provider of what `connect_parts` put into the state under this name."""

    def provide(request: Request[Any, Any, Any]) -> Any:
        return request.app.state[name]

    return provide


async def _guard(connection: Connection, handler: BaseRouteHandler) -> None:
    access: Access = connection.app.state.access
    await access.guard(connection, handler)


def _viewer(request: Request[Any, Any, Any]) -> Viewer:
    access: Access = request.app.state.access
    return access.viewer(request)


def _environment(assets: Assets) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters.register(environment)
    calendar_filters.register(environment)
    environment.globals.update(asset=assets.address, viewer_of=_viewer)
    return environment


async def _protect(message: Message, scope: Scope) -> None:
    """Add the headers of pages and API to every response, errors included; server.py adds the others."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    headers["Content-Security-Policy"] = scope["litestar_app"].state.policy
    headers["Referrer-Policy"] = "no-referrer"
    if not scope["path"].startswith("/static/"):
        headers["Cache-Control"] = "no-store"


class DocsPage(OpenAPIRenderPlugin):
    """The API reference without scripts: see docs/decisions/0010-pages.md for the alternatives."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(path="/", favicon="", style="")
        self._environment = environment

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        context = {"request": request, "schema": openapi_schema}
        return self._environment.get_template("docs.html").render(context).encode()


def _openapi(environment: Environment, base_path: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="feedzone",
        version=__version__,
        servers=[Server(url=base_path or "/")],
        description="Every connected athlete's Strava activities, from your own database.",
        openapi_router=Router("/docs", route_handlers=[], opt=anyone(), include_in_schema=False),
        render_plugins=[DocsPage(environment), JsonRenderPlugin()],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "api_key": SecurityScheme(type="http", scheme="bearer", description="The value of API_KEY")
            }
        ),
    )
