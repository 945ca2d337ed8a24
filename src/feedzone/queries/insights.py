"""Read models that pages, API, command line and metrics share: one question, one answer, everywhere.

No answer holds a token, not even an encrypted one. Lists come in pages; a cursor is opaque, and only
good for the list it came from. Every method may raise StorageUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec

from ..clock import is_recent
from ..domain.athlete import seats_of
from ..domain.job import Lane, RefreshHint, RevokeHint, decode_hint
from ..errors import NotFound
from ..ports import Clock
from ..store import activities, athletes, events, photos, purge, reconciliations, streams, subscriptions
from ..store.engine.database import Connection, Database, Row
from ..store.jobs import attempts, lifecycle
from ..store.reads import activities as activity_lists
from ..store.reads import export as inventory
from ..store.reads import health, inactivity
from ..store.reads import jobs as job_lists
from ..store.stream_codec import decode
from . import activities as belongings
from .athletes import EVERYONE, AthleteFilter, athlete_view
from .export import Piece, pieces
from .paging import change_id, first_id, identifier, page, settled
from .paging import cursor as place_of
from .quota import Foresight
from .schemas.core import (
    Activity,
    ActivityDetail,
    ActivityPage,
    Athlete,
    AthletePage,
    Attempt,
    ChangePage,
    Conflict,
    Event,
    EventPage,
    GearPage,
    Job,
    JobPage,
    JobStory,
    Photos,
    Progress,
    Pulse,
    Receipt,
    Status,
    Streams,
    Subscription,
    Totals,
    UnknownOwner,
    Wait,
)
from .schemas.quota import QuotaWindow

S = TypeVar("S", bound=msgspec.Struct)
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ActivityFilter(msgspec.Struct, frozen=True):
    """Which activities: `after` (from then on) and `before` (not any more) limit `start_date`."""

    athlete_id: int | None = None
    after: datetime | None = None
    before: datetime | None = None
    sport_type: str | None = None


COUNTED_FOR = timedelta(minutes=1)
"""Who is quiet is so for days: all athletes need not be looked through each second."""


class Insights:
    """Answers questions about the database, and changes nothing in it."""

    def __init__(
        self, database: Database, clock: Clock, foresight: Foresight, *, seats: int | None = None
    ) -> None:
        self._database = database
        self._seats = seats
        self._clock = clock
        self._quiet: tuple[datetime, int] | None = None
        self.foresight = foresight

    async def pulse(self) -> Pulse:
        now, quota = self._clock.now(), await self.foresight.quota()
        return await self._database.read(lambda c: Pulse(**self._pulse(c, now, quota)))

    async def status(self) -> Status:
        now, quota = self._clock.now(), await self.foresight.quota()
        outlook = await self.foresight.outlook()

        def body(connection: Connection) -> Status:
            unknown = events.unknown_owners(connection, 100)
            return Status(
                **self._pulse(connection, now, quota),
                events=events.counts(connection),
                queue_lag_s=_age(events.oldest_open(connection), now),
                queue=self.foresight.queue(connection, outlook).whole,
                unknown_owners=[UnknownOwner(row.owner_id, row.events, row.last) for row in unknown],
                forged_suspects=events.rejected_count(connection),
            )

        return await self._database.read(body)

    async def athletes(
        self, limit: int, cursor: str | None = None, which: AthleteFilter = EVERYONE
    ) -> AthletePage:
        """By id."""
        after, outlook, now = place_of(cursor, Int64), await self.foresight.outlook(), self._clock.now()

        def body(connection: Connection) -> AthletePage:
            wanted = inactivity.matching(connection, now, idle_days=which.idle_days, quiet_only=which.quiet)
            rows = athletes.listing(connection, limit=limit + 1, after_id=after, condition=wanted)
            people = [row.id for row in rows]
            counted = activity_lists.progress_of(connection, people)
            signs = inactivity.told_of(connection, people, now)
            queue = self.foresight.queue(connection, outlook)
            return page(
                AthletePage,
                rows,
                limit,
                lambda row: athlete_view(row, counted.get(row.id, {}), signs[row.id], queue),
                lambda row: row.id,
            )

        return await self._database.read(body)

    async def athlete(self, athlete_id: int) -> Athlete:
        """Raises NotFound."""
        outlook, now = await self.foresight.outlook(), self._clock.now()

        def body(connection: Connection) -> Athlete:
            row = _found(athletes.get(connection, athlete_id), f"there is no athlete {athlete_id} here")
            counted = activity_lists.progress(connection, athlete_id, row.initial_sync_after)
            signs = inactivity.told_of(connection, [athlete_id], now)[athlete_id]
            return athlete_view(row, counted, signs, self.foresight.queue(connection, outlook))

        return await self._database.read(body)

    async def seats(self) -> tuple[int, int | None]:
        """How many athletes Strava counts as connected, and how many it allows; None: not known."""
        used = await self._database.read(athletes.seats_used)
        return used, seats_of(self._seats, used)

    async def gear(self, athlete_id: int) -> GearPage:
        """Raises NotFound."""
        await self.athlete(athlete_id)
        return await self._database.read(lambda c: belongings.gear(c, athlete_id))

    async def progress(self, athlete_id: int) -> Progress:
        """Raises NotFound."""
        return (await self.athlete(athlete_id)).progress

    async def activities(
        self, which: ActivityFilter, cursor: str | None = None, limit: int = 50
    ) -> ActivityPage:
        """Latest start first."""
        last = place_of(cursor, tuple[datetime, Int64])
        # PostgreSQL refuses U+0000 even in a question; nothing has such a name.
        sport = which.sport_type and which.sport_type.replace("\x00", "")
        rows = await self._database.read(
            lambda c: activity_lists.listing(
                c,
                athlete_id=which.athlete_id,
                after=which.after,
                before=which.before,
                sport_type=sport,
                cursor=last,
                limit=limit + 1,
            )
        )
        return page(
            ActivityPage, rows, limit, lambda row: _from(row, Activity), lambda row: (row.start_date, row.id)
        )

    async def activity(self, activity_id: int) -> ActivityDetail:
        """Raises NotFound, also for one that was deleted at Strava."""

        def body(connection: Connection) -> ActivityDetail:
            row = _activity_row(connection, activity_id)
            states = {
                "streams": getattr(streams.get(connection, activity_id), "state", None),
                "photos": getattr(photos.get(connection, activity_id), "state", None),
            }
            return _from(row, ActivityDetail, **states, **_raw(row))

        return await self._database.read(body)

    async def photos(self, activity_id: int) -> Photos:
        """Raises NotFound, also for an activity that was deleted at Strava."""
        await self.activity(activity_id)
        return await self._database.read(lambda c: belongings.photos(c, activity_id))

    async def streams(self, activity_id: int) -> Streams:
        """Raises NotFound that says whether they are still to come, or do not exist."""

        def body(connection: Connection) -> Row[Any] | None:
            _activity_row(connection, activity_id)
            return streams.get(connection, activity_id)

        held = await self._database.read(body)
        if held is not None and held.state != "absent" and held.channels and held.blob is not None:
            # Tens of milliseconds for a long ride: not on the event loop.
            return await asyncio.to_thread(decode, held.blob)
        if held is not None and held.state == "absent":
            raise NotFound(f"the streams of activity {activity_id} are absent: Strava has none for it")
        raise NotFound(f"the streams of activity {activity_id} are pending: they have not been fetched yet")

    async def events(
        self, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> EventPage:
        """Newest first."""
        last = identifier(cursor)
        query = partial(events.listing, status=status, limit=limit + 1, before_id=last)
        rows = await self._database.read(query)
        return page(EventPage, rows, limit, event_view, lambda row: row.id)

    async def jobs(self, state: str | None = None, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Oldest first."""
        last = identifier(cursor)
        query = partial(job_lists.listing, state=state, limit=limit + 1, after_id=last)
        rows = await self._database.read(query)
        return page(JobPage, rows, limit, job_view, lambda row: row.id)

    async def changes(
        self, since: datetime | str | None = None, cursor: str | None = None, limit: int = 50
    ) -> ChangePage:
        """The audit trail, oldest first: after an instant, or after the change with the id `since`.

        Raises InvalidInput for a `since` that is neither.
        """
        first = first_id(since) if isinstance(since, datetime) else change_id(since)
        last = identifier(cursor) or first
        moment = since if isinstance(since, datetime) else None
        query = partial(activity_lists.changes, since_id=last, limit=limit + 1, since=moment)
        rows = await self._database.read(query)
        if self._database.shares_work:
            rows = settled(rows, self._clock.now())
        return page(ChangePage, rows, limit, belongings.change, lambda row: row.id)

    async def job(self, job_id: str) -> JobStory:
        """One job with the attempts that failed, oldest first. Raises NotFound."""

        def body(connection: Connection) -> JobStory:
            row = _found(lifecycle.get(connection, job_id), f"there is no job {job_id}")
            told = [_from(attempt, Attempt) for attempt in attempts.of_job(connection, job_id)]
            return JobStory(job_view(row), told)

        return await self._database.read(body)

    async def waits(self, athlete_id: int) -> Wait | None:
        """What all of an athlete's jobs wait for; None where one is due or runs, or where none is left."""
        now = self._clock.now()
        row = await self._database.read(lambda c: job_lists.put_off(c, athlete_id, now))
        return None if row is None else Wait(row.due_at, row.last_error)

    async def conflicts(self) -> list[Conflict]:
        """Open questions, oldest first."""
        rows = await self._database.read(reconciliations.open_conflicts)
        return [_from(row, Conflict, **msgspec.json.decode(row.detail)) for row in rows]

    async def receipts(self, athlete_id: int | None = None) -> list[Receipt]:
        """Newest first, 200 at most."""
        rows = await self._database.read(lambda c: purge.receipts(c, athlete_id))
        return [_from(row, Receipt, counts=msgspec.json.decode(row.counts)) for row in rows]

    async def totals(self) -> Totals:
        return await self._database.read(lambda c: Totals(*inventory.totals(c)))

    def export(self, athlete_id: int) -> AsyncIterator[Piece]:
        """The athlete's data as files. Raises NotFound."""
        return pieces(self, self._database, athlete_id)

    def _pulse(self, connection: Connection, now: datetime, quota: list[QuotaWindow]) -> dict[str, Any]:
        used = athletes.seats_used(connection)
        seats = {"seats_used": used, "seats": seats_of(self._seats, used)}
        quiet = {"quiet_athletes": self._count_quiet(connection, now)}
        return _signs(connection, now, quota) | seats | quiet

    def _count_quiet(self, connection: Connection, now: datetime) -> int:
        if self._quiet is None or not is_recent(self._quiet[0], now, COUNTED_FOR):
            self._quiet = now, inactivity.quiet_count(connection, now)
        return self._quiet[1]


def _signs(connection: Connection, now: datetime, quota: list[QuotaWindow]) -> dict[str, Any]:
    held = subscriptions.listing(connection)
    newest = max(held, key=lambda row: (row.is_active, row.created_at), default=None)
    by_state = job_lists.counts(connection)
    last = events.last_received(connection)
    return {
        "now": now,
        "athletes": athletes.counts(connection),
        "jobs": by_state,
        "dead_letters": by_state.get("dead", 0),
        "oldest_due_s": _age(job_lists.oldest_due(connection, now), now),
        "subscription": newest
        and Subscription(newest.subscription_id, newest.callback_url, newest.is_active, newest.created_at),
        "last_event_at": last,
        "quota": quota,
        **health.signs(connection, now)._asdict(),
    }


def _from(row: Row[Any], kind: type[S], **given: Any) -> S:
    """The struct whose fields are the row's columns of the same name, but for those `given`."""
    columns = row._mapping
    return kind(**{name: columns[name] for name in kind.__struct_fields__ if name not in given}, **given)


def _activity_row(connection: Connection, activity_id: int) -> Row[Any]:
    row = _found(activities.get(connection, activity_id), f"there is no activity {activity_id} here")
    if row.sync_status == "deleted":
        raise NotFound(f"activity {activity_id} was deleted, or is not visible to us any more")
    return row


def _raw(row: Row[Any]) -> dict[str, msgspec.Raw | None]:
    return {"summary": _as_received(row.summary), "detail": _as_received(row.detail)}


def _as_received(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def event_view(row: Row[Any]) -> Event:
    return _from(row, Event, event_data=_as_received(row.event_data))


def job_view(row: Row[Any]) -> Job:
    """Of the hint only what is named here: it may hold a sealed token."""
    hint = decode_hint(row.hint)
    told = (hint.action, hint.cause) if isinstance(hint, RefreshHint | RevokeHint) else (None, None)
    return _from(row, Job, action=told[0], cause=told[1] or None, lane=Lane(row.priority).name.lower())


def activity_view(row: Row[Any]) -> Activity:
    return _from(row, Activity)


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max(0.0, (now - since).total_seconds())


def _found(row: Row[Any] | None, otherwise: str) -> Row[Any]:
    if row is None:
        raise NotFound(otherwise)
    return row
