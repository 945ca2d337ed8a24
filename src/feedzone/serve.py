"""The composition root of the server: web/ in front of the app's parts."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import structlog

from .app import App, build, keep_what_is_loaded, stop_signals, working
from .domain.job_kinds import enabled_kinds
from .ingest.admission import Admission, Limits
from .ingest.webhook import Webhook, WebhookOptions
from .services.readiness import ReadinessService
from .services.sessions import SessionService
from .settings import Settings
from .web.app import create_litestar, end_streams
from .web.context import WebOptions, WebParts
from .web.server import FrontDoor, Server, bind

log = structlog.get_logger("feedzone.app")


def webhook_of(app: App) -> Webhook:
    """Build the webhook: the part that answers Strava."""
    settings = app.settings
    return Webhook(
        app.inbox,
        WebhookOptions(
            path=settings.webhook_path,
            verify_token=settings.verify_token,
            signature_mode=settings.signature_mode,
            keys=settings.signature_keys,
        ),
        app.metrics,
        app.clock,
        Admission(
            app.clock,
            Limits(
                settings.webhook_junk_limit, settings.webhook_unknown_limit, settings.webhook_athlete_limit
            ),
        ),
    )


def front_door(app: App) -> FrontDoor:
    """Build the ASGI application that serves webhook, pages and API."""
    settings = app.settings
    password = settings.admin_password.get_secret_value()
    secret = settings.strava_client_secret.get_secret_value()
    options = WebOptions(
        app_url=settings.app_url,
        is_local=settings.is_local,
        admin_password=password,
        api_key=settings.api_key.get_secret_value(),
        # Without any secret to derive it from, the key is random and lasts as long as the process.
        session_key=settings.session_key if secret or password else secrets.token_bytes(32),
        strava_configured=bool(settings.strava_client_id and secret),
        tiles=settings.map_tile_url,
        tiles_by=settings.map_tile_attribution,
        retention_days=settings.retention_days,
        event_days=settings.longest_event_days,
        enabled_kinds=enabled_kinds(settings),
    )
    parts = WebParts(
        options,
        app.queries,
        app.athletes,
        app.dead_letters,
        app.reconciliation,
        app.subscription,
        app.metrics,
        app.clock,
        SessionService(app.database, app.clock),
        ReadinessService(app.database),
    )
    return FrontDoor(
        webhook_of(app), create_litestar(parts), is_https=options.is_https, base_path=options.base_path
    )


async def serve(settings: Settings, host: str, port: int, *, worker: bool) -> None:
    """Serve until SIGINT or SIGTERM. Raises SettingsError when the address cannot be used."""
    listener = bind(host, port)
    app = build(settings)
    stop = stop_signals()
    door = front_door(app)
    server = Server(door, settings.trusted_proxies)
    try:
        await app.inbox.start()
        async with working(app) if worker else contextlib.nullcontext():
            keep_what_is_loaded()
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
            log.info("serving", address=f"http://{host}:{port}", worker=worker, mode=await _mode(app))
            await asyncio.wait(
                [serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            end_streams(door.site)
            server.should_exit = True
            await serving
    finally:
        await app.close()


async def _mode(app: App) -> str:
    """Return how changes reach us: by events, or by polling."""
    return "polling" if (await app.queries.status.pulse()).polling else "webhook"
