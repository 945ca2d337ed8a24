"""The composition root: which concrete part is given to which, and in what order they start and stop.

The web room is not here: `serve.py` adds it. So a worker process or a command never loads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from . import __version__
from .clock import StravaClock, SystemClock
from .domain.job_kinds import JobKind, enabled_kinds
from .domain.quota.windows import limits_of
from .errors import StorageUnavailable, reason_of
from .handlers.registry import handlers
from .ingest.dispatcher import Dispatcher
from .ingest.inbox import Inbox
from .ingest.spool import Spool
from .ports import Clock, Handler, Transport, Wakeup
from .queries.read_models import ReadModels, read_models
from .services.athletes import AthleteService
from .services.dead_letters import DeadLetterService
from .services.erasures import RECORD_EVERY_S, ErasureService, apply_if_restored
from .services.reconciliation import ReconciliationService
from .services.subscription import SubscriptionService
from .settings import Settings
from .store import stream_codec, token_keys
from .store.duty_lease import SqlDutyLease
from .store.engine.database import Database, open_database
from .store.handler_reads import SqlHandlerReads
from .store.jobs.idle import IdleSchedule
from .store.jobs.leaving_schedule import LeavingSchedule
from .store.jobs.queue import JobTable, worker_name
from .store.jobs.schedule import AutoRetrySchedule, GearSchedule, ReconciliationSchedule
from .store.jobs.unfinished import UnfinishedSchedule
from .store.quota.breaker import Breaker
from .store.quota.budget import BudgetTable
from .store.quota.call_log import CallLog
from .store.quota.windows import begin
from .store.retention import EventDays, Retention
from .store.schema import upgrade
from .store.shown_updates import ShownUpdatesSchedule
from .store.tokens import TokenTable, owner_of
from .strava.application import StravaApplication
from .strava.client import StravaClient
from .strava.health import EndpointHealth
from .strava.limiter import Limiter
from .strava.tokens import TokenKeeper
from .telemetry import Metrics
from .vault import load_vault, require_keys
from .worker.duties import duty_loop
from .worker.scheduler import SCHEDULE_EVERY_S
from .worker.service import WorkerService
from .worker.wakeup import LocalWakeup

log = structlog.get_logger("feedzone.app")

CHECK_EVERY_S = 3600.0
"""How often Strava is asked whether our push subscription still exists; such calls are free."""

CALLS_A_RUN = 6
"""A job's run may take a refresh and two calls, each tried twice; the limit on its time allows for that."""


@dataclass(frozen=True)
class App:
    """All parts, built and introduced to each other; nothing runs yet."""

    settings: Settings
    clock: Clock
    database: Database
    transport: Transport
    wakeup: LocalWakeup
    """Wakes the worker, for jobs."""
    arrivals: LocalWakeup
    """Wakes the dispatcher, for events."""
    metrics: Metrics
    tokens: TokenTable
    budget: BudgetTable
    application: StravaApplication
    api: StravaClient
    queue: JobTable
    worker: WorkerService
    inbox: Inbox
    dispatcher: Dispatcher
    queries: ReadModels
    athletes: AthleteService
    dead_letters: DeadLetterService
    reconciliation: ReconciliationService
    subscription: SubscriptionService
    erasures: ErasureService

    async def close(self) -> None:
        """Stop all parts in order: first take no new work, then finish the accepted work or give it back."""
        await self.inbox.close()
        await self.worker.stop()
        await self.transport.close()
        await self.database.close()


def build(
    settings: Settings,
    *,
    transport: Transport | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    database: Database | None = None,
) -> App:
    """Build every part. The schema must be there already (prepare_database)."""
    clock, rng = clock or SystemClock(), rng or random.Random()  # noqa: S311  (jitter)
    database = database or open_database(settings.database)
    transport = transport or _http()
    wakeup, arrivals, name = LocalWakeup(), LocalWakeup(), worker_name()
    vault = load_vault(settings.token_encryption_keys.get_secret_value(), settings.feedzone_home)
    strava_clock = StravaClock(clock)
    tokens, budget = TokenTable(database, vault, clock), BudgetTable(database, strava_clock)
    health = EndpointHealth()
    application = _application(settings, transport, clock, health)
    call_log = CallLog(database, clock)
    limiter = Limiter(transport, budget, Breaker(database, clock), call_log, strava_clock, health)
    api = _api(settings, limiter, tokens, application, clock, name)
    queue = JobTable(database, clock, budget, max_attempts=settings.max_sync_retries, rng=rng)
    registry = handlers(
        api,
        SqlHandlerReads(database),
        clock,
        rng,
        encode_streams=stream_codec.encoded,
        unseal=lambda sealed, athlete_id: vault.open(sealed, owner=owner_of(athlete_id)),
        max_attempts=settings.max_sync_retries,
        enabled=enabled_kinds(settings),
        notice=timedelta(days=settings.leaving_days),
        second_look=timedelta(seconds=settings.confirm_deletion_s),
    )
    spool, days = Spool(settings.feedzone_home), settings.initial_sync_days
    return App(
        settings=settings,
        clock=clock,
        database=database,
        transport=transport,
        wakeup=wakeup,
        arrivals=arrivals,
        metrics=Metrics(),
        tokens=tokens,
        budget=budget,
        application=application,
        api=api,
        queue=queue,
        worker=_worker(settings, queue, registry, database, clock, wakeup, rng, name, call_log, budget),
        inbox=Inbox(database, clock, arrivals, spool),
        dispatcher=_dispatcher(settings, database, clock, arrivals, wakeup),
        queries=_queries(settings, database, clock, budget, spool, vault.key_ids),
        athletes=_athletes(settings, database, clock, wakeup, tokens, application, spool),
        dead_letters=DeadLetterService(database, clock, wakeup, arrivals),
        reconciliation=ReconciliationService(database, clock, wakeup, days, settings.athlete_calls_per_hour),
        subscription=SubscriptionService(
            database, clock, application, settings.callback_url, settings.verify_token
        ),
        erasures=ErasureService(database, settings.feedzone_home, clock, days),
    )


def _dispatcher(
    settings: Settings, database: Database, clock: Clock, arrivals: Wakeup, work: Wakeup
) -> Dispatcher:
    return Dispatcher(database, clock, arrivals, work, look_every_s=settings.queue_poll_interval / 1000)


def _http() -> Transport:
    # An HTTP client takes long to load: whoever brings another transport does not wait for it.
    from .strava.transport import HttpTransport

    return HttpTransport(f"feedzone/{__version__}")


def _queries(
    settings: Settings,
    database: Database,
    clock: Clock,
    budget: BudgetTable,
    spool: Spool,
    key_ids: frozenset[str],
) -> ReadModels:
    return read_models(
        database,
        clock,
        budget,
        seats=settings.strava_seats,
        batch_size=settings.queue_batch_size,
        refusals=spool.refusals,
        key_ids=key_ids,
    )


def _athletes(
    settings: Settings,
    database: Database,
    clock: Clock,
    wakeup: Wakeup,
    tokens: TokenTable,
    application: StravaApplication,
    spool: Spool,
) -> AthleteService:
    return AthleteService(
        database,
        clock,
        wakeup,
        tokens,
        application,
        f"{settings.app_url}/connect/callback",
        settings.initial_sync_days,
        settings.athlete_calls_per_hour,
        spool.forget_athlete,
    )


def _application(
    settings: Settings, transport: Transport, clock: Clock, health: EndpointHealth
) -> StravaApplication:
    return StravaApplication(
        transport,
        client_id=settings.strava_client_id,
        secret=settings.strava_client_secret.get_secret_value(),
        api_base=settings.strava_api_base_url,
        oauth_base=settings.strava_oauth_base_url,
        timeout_s=settings.timeout_s,
        clock=clock,
        health=health,
    )


def _api(
    settings: Settings,
    limiter: Limiter,
    tokens: TokenTable,
    application: StravaApplication,
    clock: Clock,
    name: str,
) -> StravaClient:
    keeper = TokenKeeper(tokens, clock, application.refresh, owner=name, patience_s=settings.timeout_s)
    return StravaClient(
        limiter,
        keeper,
        application,
        clock,
        api_base=settings.strava_api_base_url,
        timeout_s=settings.timeout_s,
    )


def _worker(
    settings: Settings,
    queue: JobTable,
    registry: Mapping[JobKind, Handler],
    database: Database,
    clock: Clock,
    wakeup: Wakeup,
    rng: random.Random,
    name: str,
    call_log: CallLog,
    budget: BudgetTable,
) -> WorkerService:
    event_days = EventDays(settings.event_retention_days, settings.failed_event_retention_days)
    reconciliation = ReconciliationSchedule(database, clock, wakeup, rng, days=settings.initial_sync_days)
    gear = GearSchedule(database, clock, wakeup, rng)
    idle = IdleSchedule(
        database, clock, wakeup, budget, rng, days=settings.initial_sync_days, every_s=SCHEDULE_EVERY_S
    )
    return WorkerService(
        queue,
        registry,
        clock,
        wakeup,
        SqlDutyLease(database, clock, name),
        name=name,
        batch_size=settings.queue_batch_size,
        poll_s=settings.queue_poll_interval / 1000,
        job_limit_s=settings.timeout_s * CALLS_A_RUN,
        schedules={
            "reconciliations": reconciliation.run,
            "gear": gear.run,
            "idle_calls": idle.run,
            "automatic_retries": AutoRetrySchedule(
                database, clock, wakeup, days=settings.initial_sync_days
            ).run,
            "unconfirmed_values": ShownUpdatesSchedule(database, clock).run,
            "departures": LeavingSchedule(database, clock, wakeup, days=settings.leaving_days).run,
            "unfinished_work": UnfinishedSchedule(database, clock, wakeup).run,
        },
        prune=Retention(database, clock, settings.retention_days, event_days).prune,
        call_buffer=call_log,
    )


def prepare_database(settings: Settings) -> None:
    """Do `prepare` from synchronous code."""
    asyncio.run(prepare(settings))


async def prepare(settings: Settings) -> None:
    """Create the schema of an empty database, and check that the keys fit the stored tokens.

    If a backup was restored, delete again what it brought back.

    Raises SchemaMismatch for a database of another version, and SettingsError for missing keys.
    """
    database = open_database(settings.database)
    limits = limits_of(settings.strava_rate_limit, settings.strava_read_rate_limit)
    try:
        if upgrade.prepare(database):
            log.info("database_created")
        now = SystemClock().now()
        database.run_sync(lambda connection: begin(connection, limits, now))
        keys = settings.token_encryption_keys.get_secret_value()
        require_keys(keys, settings.feedzone_home, database.run_sync(token_keys.athletes_by_key))
        await apply_if_restored(database, settings.feedzone_home, settings.initial_sync_days, now)
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def working(app: App) -> AsyncIterator[None]:
    """The worker runs within; on PostgreSQL other processes' jobs wake it."""
    listener = app.database.listener(app.wakeup, app.arrivals)
    # The first encoding loads pyarrow, which takes 0.1 s. No delivery should wait for that.
    await asyncio.to_thread(stream_codec.encode, b"{}")
    sleep, leadership = app.clock.sleep, app.worker.leadership
    guard = duty_loop("subscription guard", app.subscription.check, lambda: sleep(CHECK_EVERY_S), leadership)
    recorder = duty_loop("erasure log", app.erasures.record, lambda: sleep(RECORD_EVERY_S), leadership)
    dispatching = duty_loop("dispatcher", app.dispatcher.run_once, app.dispatcher.pause, leadership)
    await app.worker.start()
    dispatching.start()
    guard.start()
    recorder.start()
    if listener is not None:
        await listener.start()
    try:
        yield
    finally:
        await guard.stop()
        await dispatching.stop()
        if listener is not None:
            await listener.stop()
        await app.worker.stop()
        await recorder.stop()
        await _record_last(app.erasures)


async def _record_last(erasures: ErasureService) -> None:
    """Write the erasures of the last seconds to the log."""
    try:
        await erasures.record()
    except (StorageUnavailable, OSError) as problem:
        log.warning("erasures_not_recorded", error=reason_of(problem))


def keep_what_is_loaded() -> None:
    """To be called once everything is built. It stays to the end, so the garbage collector need not look
    through it again: that stops the process for a tenth of a second and more, deliveries included."""
    gc.collect()
    gc.freeze()


def stop_signals() -> asyncio.Event:
    """An event that is set by SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # loops on Windows have no signal handlers
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


async def work(settings: Settings) -> None:
    """Run jobs, without a web server, until SIGINT or SIGTERM."""
    app = build(settings)
    stop = stop_signals()
    try:
        async with working(app):
            keep_what_is_loaded()
            await stop.wait()
    finally:
        await app.close()
