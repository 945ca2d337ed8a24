"""Athletes as API, pages and command line see them, with their gear and their deletion receipts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from ..domain.athlete import AthleteStatus, can_read_activities, parse_scopes, parse_sports
from ..domain.gear import GearKind
from ..ports import Clock
from ..store import athletes, gear, purge
from ..store.engine.database import Connection, Database, Row
from ..store.reads import activities as activity_lists
from ..store.reads import dashboard, inactivity
from ..store.reads.inactivity import InactivitySigns
from .activities import Metres
from .paging import Cursor, Int64, decode_cursor, page_of
from .quota import Queue, QuotaForecast, SyncOutlook
from .rows import AsReceived, from_row, require


class Progress(Struct, frozen=True):
    """Progress of the last backfill.

    `done`, `failed` and `pending` (also those being fetched) count activities that started since `after`.
    """

    found: Annotated[int, Meta(description="activities listed so far")]
    done: int
    failed: int
    pending: int
    listed: Annotated[bool, Meta(description="whether the list has reached its end")]
    started_at: datetime | None
    completed: bool
    completed_at: datetime | None
    after: Annotated[datetime | None, Meta(description="start of the synced period; null: all history")]


class Athlete(Struct, frozen=True):
    """A connected or disconnected (`deauthorized`) athlete. Tokens are never part of a response."""

    id: int
    username: str | None
    firstname: str | None
    lastname: str | None
    status: AthleteStatus
    status_reason: str | None
    refused_at: Annotated[datetime | None, Meta(description="since when Strava refuses the tokens")]
    leaves_at: Annotated[
        datetime | None, Meta(description="when all data is deleted unless the athlete connects again")
    ]
    leaving_cause: Annotated[
        str | None, Meta(description="event:<id>: an unproven deauthorization; refused: the tokens")
    ]
    scopes: list[str]
    token_expires_at: datetime | None
    webhook_subscription_active: bool
    last_event_at: datetime | None
    last_synced_at: datetime | None
    last_verified_at: Annotated[datetime | None, Meta(description="the last full reconciliation with Strava")]
    connected_at: datetime
    idle_since: Annotated[
        datetime, Meta(description="the latest of: last event, start of the last activity, consent")
    ]
    no_events_expected: Annotated[bool, Meta(description="no granted scope makes Strava send events")]
    quiet: Annotated[bool, Meta(description="reconciliation keeps finding activities without an event")]
    wanted_sports: Annotated[
        list[str] | None, Meta(description="sport types that are fetched fully; null: all")
    ]
    operator_may_see: Annotated[
        bool, Meta(description="the athlete has agreed that the operator sees the activities")
    ]
    progress: Progress
    sync: SyncOutlook

    @property
    def athlete_id(self) -> int:
        """The owner, under the name that everything an athlete owns has (access.Owned)."""
        return self.id

    @property
    def name(self) -> str:
        """The full name, else the user name."""
        full = " ".join(part for part in (self.firstname, self.lastname) if part)
        return full or self.username or f"athlete {self.id}"


class AthletePage(Struct, frozen=True):
    """Athletes, by id."""

    items: list[Athlete]
    next_cursor: Cursor | None = None


class Gear(Struct, frozen=True, kw_only=True):
    """A bike or a pair of shoes, as the athlete's profile showed it when it was last fetched."""

    id: str
    kind: GearKind
    name: str | None
    nickname: str | None
    is_primary: bool | None
    retired: bool | None
    distance: Metres | None
    removed_at: Annotated[datetime | None, Meta(description="when it disappeared from the profile")]
    created_at: datetime
    updated_at: datetime
    raw: AsReceived


class GearPage(Struct, frozen=True):
    """An athlete's gear: bikes, then shoes; also unused, retired and deleted gear."""

    items: list[Gear]
    next_cursor: Cursor | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """Proof that an athlete's data was removed. `counts`: rows by table."""

    id: str
    athlete_id: int
    reason: Literal["deauthorized", "disconnected", "expired"]
    cause: str
    confirmed_by: str
    purged_at: datetime
    counts: dict[str, int]
    revoked_at: Annotated[
        datetime | None, Meta(description="when Strava confirmed that our access is revoked; null: not yet")
    ]
    revoke_detail: str | None


class AthleteFilter(Struct, frozen=True):
    """Select athletes without events and activities for `idle_days`; the `quiet` athletes, or the others."""

    idle_days: int | None = None
    quiet: bool | None = None


ALL_ATHLETES = AthleteFilter()


class DisconnectPreview(Struct, frozen=True):
    """The rows that disconnecting an athlete removes, by table."""

    athlete: Athlete
    rows: dict[str, int]


class AthleteQueries:
    def __init__(self, database: Database, clock: Clock, quota: QuotaForecast) -> None:
        self._database = database
        self._clock = clock
        self._quota = quota

    async def page(
        self, limit: int, cursor: str | None = None, where: AthleteFilter = ALL_ATHLETES
    ) -> AthletePage:
        """Return athletes by id."""
        after, forecast, now = (
            decode_cursor(cursor, Int64),
            await self._quota.forecast_input(),
            self._clock.now(),
        )

        def body(connection: Connection) -> AthletePage:
            condition = inactivity.matching(
                connection, now, idle_days=where.idle_days, quiet_only=where.quiet
            )
            rows = athletes.listing(connection, limit=limit + 1, after_id=after, condition=condition)
            queue = self._quota.queue(connection, forecast)
            by_id = {athlete.id: athlete for athlete in athletes_from(connection, rows, queue, now)}
            return page_of(AthletePage, rows, limit, lambda row: by_id[row.id], lambda row: row.id)

        return await self._database.read(body)

    async def get(self, athlete_id: int) -> Athlete:
        """Return one athlete. Raises NotFound."""
        forecast, now = await self._quota.forecast_input(), self._clock.now()

        def body(connection: Connection) -> Athlete:
            row = require(athletes.get(connection, athlete_id), f"there is no athlete {athlete_id} here")
            counts = activity_lists.progress(connection, athlete_id, row.initial_sync_after)
            signs = inactivity.signs_of(connection, [athlete_id], now)[athlete_id]
            return athlete_from(row, counts, signs, self._quota.queue(connection, forecast))

        return await self._database.read(body)

    async def gear(self, athlete_id: int) -> GearPage:
        """Return an athlete's bikes and shoes. Raises NotFound."""

        def body(connection: Connection) -> GearPage:
            require(athletes.get(connection, athlete_id), f"there is no athlete {athlete_id} here")
            return GearPage(gear_of(connection, athlete_id))

        return await self._database.read(body)

    async def receipts(self, athlete_id: int | None = None) -> list[Receipt]:
        """Return at most 200 deletion receipts, newest first."""
        rows = await self._database.read(lambda c: purge.receipts(c, athlete_id))
        return [from_row(row, Receipt, counts=msgspec.json.decode(row.counts)) for row in rows]

    async def names(self, athlete_ids: Iterable[int]) -> dict[int, str]:
        ids = list(athlete_ids)
        return await self._database.read(lambda c: names_of(c, ids))

    async def disconnect_preview(self, athlete_id: int) -> DisconnectPreview:
        """Return what disconnecting the athlete would remove. Raises NotFound."""
        athlete = await self.get(athlete_id)
        rows = await self._database.read(lambda c: dashboard.rows_by_table(c, athlete_id))
        return DisconnectPreview(athlete, rows)


def athletes_from(
    connection: Connection, rows: Iterable[Row[Any]], queue: Queue, now: datetime
) -> list[Athlete]:
    """Complete rows of athletes with the counts and signs that all of them need, read at once."""
    rows = list(rows)
    ids = [row.id for row in rows]
    counts = activity_lists.progress_of(connection, ids)
    signs = inactivity.signs_of(connection, ids, now)
    return [athlete_from(row, counts.get(row.id, {}), signs[row.id], queue) for row in rows]


def athlete_from(row: Row[Any], counts: dict[str, int], signs: InactivitySigns, queue: Queue) -> Athlete:
    """`counts`: the athlete's activities by sync status."""
    progress = Progress(
        found=row.initial_sync_found,
        done=counts.get("synced", 0),
        failed=counts.get("failed", 0),
        pending=counts.get("pending", 0) + counts.get("syncing", 0),
        listed=row.initial_sync_listed,
        started_at=row.initial_sync_started_at,
        completed=row.initial_sync_completed,
        completed_at=row.initial_sync_completed_at,
        after=row.initial_sync_after,
    )
    scopes = parse_scopes(row.scopes)
    sports = parse_sports(row.wanted_sports)
    last = max(at for at in (row.connected_at, row.last_event_at, signs.latest_start) if at is not None)
    return from_row(
        row,
        Athlete,
        scopes=sorted(scopes),
        idle_since=last,
        no_events_expected=not can_read_activities(scopes),
        quiet=signs.quiet,
        wanted_sports=None if sports is None else sorted(sports),
        progress=progress,
        sync=queue.sync(row.id, counts),
    )


def gear_of(connection: Connection, athlete_id: int) -> list[Gear]:
    rows = gear.listing(connection, athlete_id)
    return [from_row(row, Gear, raw=Raw(row.raw.encode())) for row in rows]


def names_of(connection: Connection, athlete_ids: Iterable[int]) -> dict[int, str]:
    return {id_: full_name(row) for id_, row in dashboard.names(connection, athlete_ids).items()}


def full_name(athlete: Athlete | Row[Any]) -> str:
    """Return the full name, else the user name, else the id."""
    name = " ".join(part for part in (athlete.firstname, athlete.lastname) if part)
    return name or athlete.username or f"athlete {athlete.id}"
