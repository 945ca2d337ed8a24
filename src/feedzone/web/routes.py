"""Everything the web room answers, put together as one Litestar application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request
from litestar.datastructures import CacheControlHeader, MutableScopeHeaders
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig
from litestar.types import Message, Scope

from .. import __version__
from . import format as looks
from .api import api_router
from .auth import Access
from .health import health_router
from .oauth import oauth_router
from .pages import Live, context_of, pages_router
from .parts import WebParts
from .problems import HANDLERS

HERE = Path(__file__).parent

CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)


def create_litestar(parts: WebParts) -> Litestar:
    """The application. `end_streams` must be called on it before its server waits for connections to end."""
    access = Access(parts.options, parts.clock)
    environment = _environment()
    page = Live(_renderer(parts, environment), parts.clock)
    application = Litestar(
        [
            api_router(access.api),
            oauth_router(),
            pages_router(access.pages),
            health_router(access.metrics),
            create_static_files_router(
                "/static", [HERE / "static"], cache_control=CacheControlHeader(no_cache=True)
            ),
        ],
        dependencies={
            "parts": Provide(lambda: parts, sync_to_thread=False),
            "page": Provide(lambda: page, sync_to_thread=False),
        },
        exception_handlers=HANDLERS,
        before_send=[_protect],
        on_shutdown=[page.close],
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment)),
        openapi_config=_openapi(environment),
        # feedzone configures logging itself (telemetry.py); Litestar would install handlers of its own.
        logging_config=None,
        debug=False,
    )
    application.state.live = page
    return application


def end_streams(application: Litestar) -> None:
    """End the live pages' streams, so that a server that stops need not wait for them."""
    application.state.live.close()


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    looks.register(environment)
    return environment


def _renderer(parts: WebParts, environment: Environment) -> Any:
    async def render() -> str:
        context = context_of(await parts.insights.overview())
        return environment.get_template("overview.html").render(context)

    return render


async def _protect(message: Message, scope: Scope) -> None:
    """Headers of every answer, also of errors."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    headers["Content-Security-Policy"] = CONTENT_POLICY
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Content-Type-Options"] = "nosniff"
    if not scope["path"].startswith("/static/"):
        headers["Cache-Control"] = "no-store"


class DocsPage(OpenAPIRenderPlugin):
    """The API's reference as a page of our own: Litestar's load their scripts from other hosts."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(path="/", favicon="", style="")
        self._environment = environment

    def render(self, _: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self._environment.get_template("docs.html").render(schema=openapi_schema).encode()


def _openapi(environment: Environment) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="feedzone",
        version=__version__,
        description="Every connected athlete's Strava activities, from your own database.",
        path="/docs",
        render_plugins=[DocsPage(environment), JsonRenderPlugin()],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "api_key": SecurityScheme(type="http", scheme="bearer", description="API_KEY, as it is set")
            }
        ),
    )
