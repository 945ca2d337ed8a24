"""The web application on a real database, shared by the tests of its pages and API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
from litestar import Litestar

from feedzone.clock import StravaClock
from feedzone.domain import ids
from feedzone.domain.activity import ActivityRecord
from feedzone.domain.athlete import AthleteProfile, TokenGrant
from feedzone.domain.effect import StoreStreams
from feedzone.domain.event import parse_event
from feedzone.domain.job import Job, JobSpec, Lane, RefreshHint
from feedzone.domain.outcome import Discard, Outcome
from feedzone.ingest.deliveries import Delivery, accept
from feedzone.ingest.dispatcher import BATCH, dispatch
from feedzone.queries.read_models import read_models
from feedzone.services.athletes import AthleteService
from feedzone.services.dead_letters import DeadLetterService
from feedzone.services.readiness import ReadinessService
from feedzone.services.reconciliation import ReconciliationService
from feedzone.services.sessions import SessionService
from feedzone.services.subscription import SubscriptionService
from feedzone.store import activities, duty_lease, streams, undispatched
from feedzone.store.engine.database import Database
from feedzone.store.engine.dialect import insert_into
from feedzone.store.jobs import leases, lifecycle
from feedzone.store.jobs.endings import Ending, finish_all
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema import tables
from feedzone.store.stream_codec import encode
from feedzone.store.tokens import TokenTable
from feedzone.telemetry import Metrics
from feedzone.vault import Vault
from feedzone.web.app import connect_parts, create_litestar
from feedzone.web.context import WebOptions, WebParts
from feedzone.worker.wakeup import LocalWakeup

BEGIN = datetime(2026, 11, 3, 8, 0, tzinfo=UTC)
PASSWORD = "correct horse"
API_KEY = "key-of-the-api"
KEY = {"Authorization": f"Bearer {API_KEY}"}
ACCESS_TOKEN, REFRESH_TOKEN = "canary-access-token", "canary-refresh-token"
LEADER = "box:17:ab12cd34"
ALL = "read,activity:read,activity:read_all"
RIDE = 9_007_199_254_740_993
"""An id beyond the exact range of JavaScript's numbers (2^53 + 1)."""

SUMMARY = '{"id": 9007199254740993, "distance": 1000.0,  "odd":"spacing é"}'
DETAIL = '{"id":9007199254740993,"distance":1e3,"description":"as received"}'
STREAMS = {
    "time": {"data": [0, 1, 2], "series_type": "distance", "original_size": 3, "resolution": "high"},
    "latlng": {"data": [[47.1, 8.5], [47.2, 8.6], [47.3, 8.7]], "series_type": "distance"},
}


class SetClock:
    """Stands still until a test moves it; sleepers wake at once."""

    def __init__(self) -> None:
        self.at = BEGIN

    def now(self) -> datetime:
        return self.at

    def pass_by(self, **time: float) -> None:
        self.at += timedelta(**time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


@dataclass
class ConsentDesk:
    """Stands in for Strava's token endpoint: gives `profile` a grant, or raises `refuses`."""

    clock: SetClock
    profile: AthleteProfile = field(default_factory=lambda: AthleteProfile(42, "ada", "Ada", "Lovelace"))
    refuses: Exception | None = None
    codes: list[str] = field(default_factory=list)

    def consent_url(self, redirect_uri: str, state: str, *, force: bool = False) -> str:
        prompt = "force" if force else "auto"
        return f"https://strava.test/oauth/authorize?to={redirect_uri}&approval_prompt={prompt}&state={state}"

    async def exchange(self, code: str) -> tuple[TokenGrant, AthleteProfile]:
        self.codes.append(code)
        if self.refuses is not None:
            raise self.refuses
        return TokenGrant(ACCESS_TOKEN, REFRESH_TOKEN, self.clock.now() + timedelta(hours=6)), self.profile


@dataclass
class World:
    database: Database
    clock: SetClock
    desk: ConsentDesk
    parts: WebParts
    site: Litestar

    def browser(self, **options: Any) -> httpx.AsyncClient:
        """A client that keeps cookies and follows no redirects."""
        transport = httpx.ASGITransport(self.site, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=self.parts.options.app_url, **options)

    async def connect(self, scope: str = ALL) -> int:
        await self.parts.athletes.connect("code", scope)
        return self.desk.profile.id

    async def deliver(self, object_id: int, aspect: str = "create", owner: int = 42, **updates: Any) -> str:
        event = {
            "object_type": "activity",
            "object_id": object_id,
            "aspect_type": aspect,
            "owner_id": owner,
            "subscription_id": 1,
            "event_time": int(self.clock.now().timestamp()),
            "updates": updates,
        }
        delivery = Delivery(parse_event(msgspec.json.encode(event)), "absent")
        receipts = await self.database.write(lambda c: accept(c, [delivery], self.clock.now()))
        await self.database.write(lambda c: dispatch(c, undispatched.claim(c, BATCH), self.clock.now()))
        return receipts[0].event_id

    async def store(
        self, activity_id: int, *, level: str = "detail", status: str = "synced", **columns: Any
    ) -> None:
        values = {
            "name": "Morning Ride",
            "sport_type": "Ride",
            "start_date": BEGIN - timedelta(hours=2),
            "start_date_local": datetime(2026, 11, 3, 7, 0),  # noqa: DTZ001  (wall time)
            "distance": 42_195.0,
        }
        raw = DETAIL if level == "detail" else SUMMARY
        record = ActivityRecord(activity_id, 42, level, values | columns, raw)  # type: ignore[arg-type]
        await self.database.write(
            lambda c: activities.store(
                c, record, cause="backfill", received_at=None, status=status, now=self.clock.now()
            )
        )

    async def store_streams(self, activity_id: int, state: str = "present") -> None:
        packed = encode(msgspec.json.encode(STREAMS if state == "present" else {}))
        effect = StoreStreams(activity_id, 42, state, packed.blob, packed.channels, packed.samples)  # type: ignore[arg-type]
        await self.database.write(lambda c: streams.store(c, effect, self.clock.now()))

    async def dead_letter(self, activity_id: int, outcome: Outcome | None = None) -> str:
        """Create a dead letter and return the id of its job."""

        def body(connection: Any) -> str:
            now = self.clock.now()
            hint = RefreshHint(cause="request")
            spec = JobSpec("refresh_activity", f"activity:{activity_id}", 42, hint, 0, Lane.LIVE, rank=0)
            lifecycle.enqueue(connection, [spec], now)
            leased: list[Job] = leases.lease(connection, limit=1, owner="w/1", now=now, seconds=60)
            ending = Ending(leased[0], outcome or Discard("500 from Strava"), timedelta())
            finish_all(connection, [ending], now=now, max_attempts=1, apply=lambda *_: None)
            return leased[0].id

        return await self.database.write(body)


@asynccontextmanager
async def web_world(database: Database, **options: Any) -> AsyncIterator[World]:
    """A world with the web options of a local installation, changed by `options`."""
    ids._last = 0  # ids never go back, but the clock of the next test does
    clock, wakeup = SetClock(), LocalWakeup()
    desk, tokens = ConsentDesk(clock), TokenTable(database, Vault([b"k" * 32]), clock)
    chosen = WebOptions(
        **{
            "app_url": "http://127.0.0.1:8000",
            "is_local": True,
            "strava_configured": True,
            "session_key": b"session key",
            "api_key": API_KEY,
        }
        | options
    )
    parts = WebParts(
        chosen,
        read_models(database, clock, BudgetTable(database, StravaClock(clock))),
        AthleteService(
            database,
            clock,
            wakeup,
            tokens,
            desk,
            f"{chosen.app_url}/connect/callback",
            30,  # type: ignore[arg-type]
        ),
        DeadLetterService(database, clock, wakeup, wakeup),
        ReconciliationService(database, clock, wakeup, 30),
        SubscriptionService(database, clock, desk, f"{chosen.app_url}/api/webhooks/strava", "verify"),  # type: ignore[arg-type]
        Metrics(),
        clock,
        SessionService(database, clock),
        ReadinessService(database),
    )
    until = BEGIN + timedelta(days=9999)
    leader = {"name": duty_lease.NAME, "holder": LEADER, "since": BEGIN, "until": until}
    # Two worlds may share the database.
    await database.write(lambda c: c.execute(insert_into(c, tables.leases).on_conflict_do_nothing(), leader))
    unused = _UNUSED.setdefault(chosen.base_path, [])
    application = unused.pop() if unused else create_litestar(parts)
    connect_parts(application, parts)
    yield World(database, clock, desk, parts, application)
    unused.append(application)


_UNUSED: dict[str, list[Litestar]] = {}
"""Applications that no test uses now, by the path of their APP_URL. Building one takes long."""
