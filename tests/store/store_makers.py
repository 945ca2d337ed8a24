"""Helpers of the store tests: makers of plain values, and a store with short methods."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import CheckConstraint, Column, Connection, Row, Table, select
from sqlalchemy import event as event_hook
from sqlalchemy.ext.asyncio import AsyncConnection

from feedzone.clock import StravaClock
from feedzone.domain.activity import ActivityRecord
from feedzone.domain.athlete import AthleteProfile, TokenGrant
from feedzone.domain.effect import Effect, StoreDetail, StoreStreams
from feedzone.domain.event import Signature, StravaEvent, parse_event
from feedzone.domain.ids import uuid7
from feedzone.domain.job import Job, JobSpec, Lane, RefreshHint, activity_key
from feedzone.domain.outcome import Outcome
from feedzone.domain.quota.windows import Reading, Reservation, Usage
from feedzone.ingest.deliveries import AcceptResult, Delivery, accept
from feedzone.ingest.dispatcher import BATCH, dispatch
from feedzone.ports import Clock
from feedzone.services.athletes import AthleteService
from feedzone.store import athletes, effects, undispatched
from feedzone.store.engine.database import Database
from feedzone.store.engine.postgres import PostgresDatabase
from feedzone.store.engine.types import Identifier, Instant, JsonText
from feedzone.store.jobs import lifecycle
from feedzone.store.jobs.queue import JobTable
from feedzone.store.quota.budget import BudgetTable
from feedzone.store.schema.tables import activity_changes
from feedzone.store.tokens import TokenTable
from feedzone.vault import Vault
from feedzone.worker.wakeup import LocalWakeup

OWNER = 134815
OTHER = 227615
ACTIVITY = 1360128428
EVENT_TIME = 1516126040

SUMMARY: dict[str, Any] = {
    "name": "Morning Ride",
    "sport_type": "GravelRide",
    "type": "Ride",
    "start_date": datetime(2026, 11, 3, 6, 0, tzinfo=UTC),
    "start_date_local": datetime(2026, 11, 3, 7, 0),  # noqa: DTZ001  (wall time)
    "start_hidden": False,
    "timezone": "Europe/Berlin",
    "utc_offset": 3600,
    "distance": 24931.4,
    "moving_time": 4500,
    "elapsed_time": 4600,
    "total_elevation_gain": 516.0,
    "average_speed": 5.54,
    "private": False,
    "visibility": "everyone",
    "manual": False,
    "gear_id": "b12345678987654321",
    "start_lat": 52.52,
    "start_lng": 13.4,
}
DETAIL: dict[str, Any] = SUMMARY | {
    "description": "along the canal",
    "calories": 870.2,
    "perceived_exertion": 6.0,
    "device_name": "Garmin Edge 1030",
}


def event(**changes: object) -> StravaEvent:
    """Return a create event of an activity as Strava sends it, with these changes."""
    body = {
        "object_type": "activity",
        "object_id": ACTIVITY,
        "aspect_type": "create",
        "owner_id": OWNER,
        "subscription_id": 120475,
        "event_time": EVENT_TIME,
        "updates": {},
    } | changes
    return parse_event(msgspec.json.encode(body))


def retitled(title: str, **changes: object) -> StravaEvent:
    return event(**({"aspect_type": "update", "updates": {"title": title}} | changes))


def deauthorized(owner: int = OWNER) -> StravaEvent:
    return event(
        object_type="athlete",
        object_id=owner,
        owner_id=owner,
        aspect_type="update",
        updates={"authorized": "false"},
    )


def spec(activity_id: int = ACTIVITY, **changes: Any) -> JobSpec:
    """Return a request to refresh an activity in the live lane."""
    plain = JobSpec(
        kind="refresh_activity",
        key=activity_key(activity_id),
        athlete_id=OWNER,
        hint=RefreshHint(cause="request"),
        hint_time=0,
        lane=Lane.LIVE,
        rank=0,
    )
    return msgspec.structs.replace(plain, **changes)


def detail(activity_id: int = ACTIVITY, athlete_id: int = OWNER, **columns: Any) -> ActivityRecord:
    """Return an activity as GET /activities/{id} shows it."""
    return _record("detail", activity_id, athlete_id, DETAIL | columns)


def summary(activity_id: int = ACTIVITY, athlete_id: int = OWNER, **columns: Any) -> ActivityRecord:
    """Return an activity as the list shows it."""
    return _record("summary", activity_id, athlete_id, SUMMARY | columns)


def _record(level: Any, activity_id: int, athlete_id: int, columns: dict[str, Any]) -> ActivityRecord:
    raw = json.dumps({"id": activity_id, "name": columns["name"], "level": level})
    return ActivityRecord(activity_id, athlete_id, level, columns, raw)


def fetched(record: ActivityRecord, cause: str = "request", *, complete: bool = True) -> StoreDetail:
    return StoreDetail(record, cause, None, complete)


def streams(state: Any = "present", blob: bytes | None = b"PAR1", **changes: Any) -> StoreStreams:
    channels, samples = (("time", "watts"), 3) if state == "present" else ((), 0)
    plain = StoreStreams(ACTIVITY, OWNER, state, blob if state == "present" else None, channels, samples)
    return msgspec.structs.replace(plain, **changes)


def _is_arrival(change: Any) -> bool:
    return (change.field, change.old_value) == ("sync_status", "null") and change.new_value != '"deleted"'


def _some_value(column: Column[Any], now: datetime) -> Any:
    """Return a value that the column accepts."""
    checks = (each for each in column.table.constraints if isinstance(each, CheckConstraint))
    for text in (str(check.sqltext) for check in checks):
        if text.startswith(f"{column.name} IN"):
            return re.findall("'(.*?)'", text)[0]
    match column.type:
        case Instant():
            return now
        case Identifier():
            return uuid7(1)
        case JsonText():
            return '["Canary"]'
    return column.type.python_type(1)


@asynccontextmanager
async def connection_of(database: PostgresDatabase) -> AsyncIterator[AsyncConnection]:
    """Yield a connection for a transaction that stays open over several steps."""
    pooled = await database._pool.take()
    yield pooled.connection
    await database._pool.give_back(pooled)


class Measured:
    """A database that counts the rows that each write changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rows: list[int] = []
        """The changed rows, one number a transaction."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, body: Callable[[Connection], Any], **options: Any) -> Any:
        def counted(connection: Connection) -> Any:
            self.rows.append(0)

            def count(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
                if not statement.lstrip().upper().startswith("SELECT"):
                    self.rows[-1] += max(0, cursor.rowcount)

            event_hook.listen(connection, "after_cursor_execute", count)
            try:
                return body(connection)
            finally:
                event_hook.remove(connection, "after_cursor_execute", count)

        return await self._database.write(counted, **options)


class Desk:
    """Stands in for Strava's token endpoint."""

    async def exchange(self, _code: str) -> Any:
        until = datetime(2026, 11, 3, 18, tzinfo=UTC)
        return TokenGrant("access", "refresh", until), AthleteProfile(OWNER, "ada", "Ada", "Lovelace")


def connecting(database: Any, clock: Any) -> AthleteService:
    """Return the service that connects and disconnects OWNER."""
    tokens = TokenTable(database, Vault([b"k" * 32]), clock)
    return AthleteService(database, clock, LocalWakeup(), tokens, Desk(), "http://x/", 30)  # type: ignore[arg-type]


@dataclass
class Store:
    """A database, a manual clock, and the job queue."""

    database: Database
    clock: Any
    queue: JobTable

    @classmethod
    def over(cls, database: Database, clock: Clock) -> Store:
        budget = BudgetTable(database, StravaClock(clock))
        return cls(database, clock, JobTable(database, clock, budget, max_attempts=3, rng=random.Random(1)))

    async def connect(self, athlete_id: int) -> None:
        profile = AthleteProfile(athlete_id, "ada", "Ada", "Lovelace")
        now = self.clock.now()
        await self.write(lambda c: athletes.connect(c, profile, "read,activity:read", "active", None, now))

    async def write(self, body: Callable[[Connection], Any]) -> Any:
        return await self.database.write(body)

    async def read(self, body: Callable[[Connection], Any]) -> Any:
        return await self.database.read(body)

    async def edits(self) -> list[Any]:
        """Return the audit trail without the entries for newly stored activities."""
        return [row for row in await self.rows(activity_changes) if not _is_arrival(row)]

    async def rows(self, table: Table, **where: Any) -> list[Row[Any]]:
        query = (
            select(table)
            .order_by(*table.primary_key)
            .where(*(table.c[name] == value for name, value in where.items()))
        )
        return await self.database.read(lambda c: list(c.execute(query).all()))

    async def fill(self, tables: Iterable[Table], **ids: int) -> None:
        """Insert a row with these ids into each table that has none, so that tests cover new tables, too."""
        for table in tables:
            if await self.rows(table, **ids):
                continue
            needed = [column for column in table.c if not column.nullable and column.server_default is None]
            values = {column.name: _some_value(column, self.clock.now()) for column in needed} | ids
            await self.write(lambda c, table=table, values=values: c.execute(table.insert(), values))

    async def row(self, table: Table, **where: Any) -> Row[Any]:
        (only,) = await self.rows(table, **where)
        return only

    async def deliver(self, *events: StravaEvent, signature: Signature = "absent") -> list[AcceptResult]:
        """Store these events, and enqueue their jobs."""
        deliveries = [Delivery(delivered, signature) for delivered in events]
        now = self.clock.now()
        results = await self.database.write(lambda c: accept(c, deliveries, now))
        await self.database.write(lambda c: dispatch(c, undispatched.claim(c, BATCH), now))
        return results

    async def enqueue(self, *specs: JobSpec) -> None:
        now = self.clock.now()
        await self.database.write(lambda c: lifecycle.enqueue(c, specs, now))

    async def lease(self, limit: int = 10, owner: str = "w/1", seconds: float = 60) -> list[Job]:
        return await self.queue.lease(limit, owner, seconds)

    async def lease_one(self, owner: str = "w/1") -> Job:
        (job,) = await self.lease(owner=owner)
        return job

    async def run(self, outcome: Outcome) -> Job:
        """Run the only due job to this outcome."""
        job = await self.lease_one()
        assert await self.queue.finish(job, outcome)
        return job

    async def apply(self, *requested: Effect) -> None:
        now = self.clock.now()
        await self.database.write(lambda c: effects.apply(c, requested, now))


def arrive(connection: Connection, deliveries: list[Delivery], now: datetime) -> list[AcceptResult]:
    """Store these deliveries and enqueue their jobs in one transaction, for tests of races."""
    results = accept(connection, deliveries, now)
    dispatch(connection, undispatched.claim(connection, BATCH), now)
    return results


def usage(**readings: Any) -> Usage:
    """Return the limit and usage of each window, as the headers report them."""
    return {name: Reading(*reading) for name, reading in readings.items()}  # type: ignore[misc]


async def call(budget: BudgetTable, lane: Lane = Lane.LIVE, **readings: Any) -> Reservation:
    """Reserve one call and record its response at once."""
    leave = await budget.reserve(lane)
    await budget.answered(leave, usage(**readings))
    return leave
