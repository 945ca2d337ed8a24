"""Read models of the pages. As in insights.py, no answer holds a token; all may raise StorageUnavailable."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from ..clock import is_recent
from ..domain.curves import Drawn
from ..domain.job import Lane
from ..ports import Clock
from ..store import events
from ..store.engine.database import Connection, Database, Row
from ..store.jobs import attempts, dead_letters
from ..store.reads import activities, dashboard, inactivity
from ..store.reads import calendar as calendar_rows
from . import calendar
from .activity_history import CurveShelf, file_of
from .athletes import athlete_view
from .calendar import Diary, Entry, Wanted
from .insights import Insights, event_view, job_view
from .paging import first_id, identifier, page
from .schemas.activity_history import ActivityFile
from .schemas.core import Attempt, Pulse
from .schemas.dashboard import (
    Brief,
    Cause,
    DeadLetter,
    Delivery,
    Front,
    LaneDepth,
    Leaving,
    Lost,
    Told,
    ToldPage,
    Vitals,
)
from .schemas.quota import Budget

DAY = timedelta(hours=24)
ADDED_UP_FOR = timedelta(seconds=10)
"""A day's events are not added up for every look at an open page."""

ON_OVERVIEW = 12
LATEST = 8
SAMPLE = 2000
LETTERS = 20
PEOPLE = 50


class PageInsights:
    """Answers what pages ask about the database, and changes nothing in it."""

    def __init__(self, database: Database, clock: Clock, insights: Insights) -> None:
        self._database = database
        self._clock = clock
        self._insights = insights
        self._delivery: tuple[datetime, Delivery] | None = None
        self._budget: tuple[datetime, Budget] | None = None
        self._shelf = CurveShelf(database)

    async def stamp(self) -> str:
        """Differs when something was committed meanwhile."""
        return await self._database.data_version()

    async def front(self) -> Front:
        pulse = await self._insights.pulse()
        foresight = self._insights.foresight
        budget, outlook = await self._spent(pulse.now), await foresight.outlook()

        def body(connection: Connection) -> Front:
            whole = dashboard.completeness(connection)
            running = dashboard.syncing(connection, ON_OVERVIEW)
            people = [row.id for row in running]
            counted = activities.progress_of(connection, people)
            signs = inactivity.told_of(connection, people, pulse.now)
            queue = foresight.glance(connection, outlook)
            rows = events.listing(connection, status=None, limit=ON_OVERVIEW, before_id=None)
            newest = [_brief(row) for row in dashboard.latest(connection, LATEST)]
            return Front(
                pulse,
                whole.active,
                whole.complete,
                whole.verified_at,
                _told(connection, rows),
                newest,
                _names(connection, (one.athlete_id for one in newest)),
                [athlete_view(row, counted.get(row.id, {}), signs[row.id], queue) for row in running],
                self._delivered(connection, pulse.now),
                budget,
            )

        return await self._database.read(body)

    async def _spent(self, now: datetime) -> Budget:
        if self._budget is None or not is_recent(self._budget[0], now, ADDED_UP_FOR):
            self._budget = now, await self._insights.foresight.budget()
        return self._budget[1]

    def _delivered(self, connection: Connection, now: datetime) -> Delivery:
        if self._delivery is None or not is_recent(self._delivery[0], now, ADDED_UP_FOR):
            self._delivery = now, _delivery(connection, now)
        return self._delivery[1]

    async def events(self, status: str | None, cursor: str | None, limit: int) -> ToldPage:
        """Newest first."""
        last = identifier(cursor)

        def body(connection: Connection) -> ToldPage:
            rows = events.listing(connection, status=status, limit=limit + 1, before_id=last)
            shown = {one.event.id: one for one in _told(connection, rows[:limit])}
            return page(ToldPage, rows, limit, lambda row: shown[row.id], lambda row: row.id)

        return await self._database.read(body)

    async def event(self, event_id: str) -> Told | None:
        def body(connection: Connection) -> Told | None:
            row = events.get(connection, event_id)
            return None if row is None else _told(connection, [row])[0]

        return await self._database.read(body)

    async def activity(self, activity_id: int) -> ActivityFile | None:
        """None for an activity that nothing is known of."""
        return await self._database.read(lambda c: file_of(c, activity_id))

    async def curves(self, activity_id: int) -> Drawn | None:
        """What to draw of an activity's streams; None: they are not here. Raises MalformedStreams."""
        return await self._shelf.curves(activity_id)

    async def causes(self) -> list[Cause]:
        """Dead letters by class of failure, the most frequent first."""

        def body(connection: Connection) -> list[Cause]:
            counts = dashboard.causes(connection)
            return [
                Cause(kind, count, _letters(connection, kind), kind in dead_letters.PASSING)
                for kind, count in counts.items()
            ]

        return await self._database.read(body)

    async def vitals(self) -> Vitals:
        pulse = await self._insights.pulse()

        def body(connection: Connection) -> tuple[Any, ...]:
            began = time.perf_counter()
            name, theirs = dashboard.server(connection)
            took = (time.perf_counter() - began) * 1000
            lost = [_lost(row) for row in dashboard.without_access(connection, PEOPLE)]
            depths = [
                LaneDepth(Lane(row.priority).name.lower(), row.jobs, row.since)
                for row in dashboard.lanes(connection)
            ]
            return lost, depths, name, took, theirs

        lost, depths, name, took, theirs = await self._database.read(body)
        off = None if theirs is None else (theirs - self._clock.now()).total_seconds()
        return Vitals(pulse, lost, depths, name, took, off)

    async def leaving(self, athlete_id: int) -> Leaving:
        """Raises NotFound."""
        athlete = await self._insights.athlete(athlete_id)
        rows = await self._database.read(lambda c: dashboard.holdings(c, athlete_id))
        return Leaving(athlete, rows)

    async def diary(self, athlete_id: int, wanted: Wanted, today: date) -> Diary:
        """Raises InvalidInput."""
        return await self._database.read(lambda c: calendar.read(c, athlete_id, wanted, today))

    async def by_state(self, athlete_id: int) -> dict[str, int]:
        """How many of the athlete's activities are in each state."""
        return await self._database.read(lambda c: activities.progress(c, athlete_id, None))

    async def fetched(self, athlete_id: int) -> list[Entry]:
        """What of the athlete was fetched, the latest first."""
        rows = await self._database.read(lambda c: calendar_rows.fetched(c, athlete_id, LATEST))
        return [calendar.entry(row) for row in rows]

    async def names(self, athlete_ids: Iterable[int]) -> dict[int, str]:
        wanted = list(athlete_ids)
        return await self._database.read(lambda c: _names(c, wanted))

    async def pulse(self) -> Pulse:
        return await self._insights.pulse()


def _delivery(connection: Connection, now: datetime) -> Delivery:
    first = first_id(now - DAY)
    by_status = dashboard.outcomes_since(connection, first)
    took = sorted(dashboard.durations_since(connection, first, SAMPLE))
    return Delivery(
        sum(by_status.values()),
        by_status.get("completed", 0),
        by_status.get("failed", 0),
        by_status.get("pending", 0) + by_status.get("processing", 0),
        took[len(took) // 2] if took else None,
        took[min(len(took) - 1, len(took) * 19 // 20)] if took else None,
    )


def _told(connection: Connection, rows: Sequence[Row[Any]]) -> list[Told]:
    people = _names(connection, (row.owner_id for row in rows))
    found = dashboard.briefs(connection, (row.object_id for row in rows if row.object_type == "activity"))
    failed = [row.job_id for row in rows if row.status == "failed" and row.job_id]
    dead = dashboard.dead_among(connection, failed)
    return [
        Told(
            event_view(row),
            people.get(row.owner_id),
            _brief(found[row.object_id])
            if row.object_type == "activity" and row.object_id in found
            else None,
            row.job_id in dead,
        )
        for row in rows
    ]


def _letters(connection: Connection, error_class: str) -> list[DeadLetter]:
    rows = dashboard.dead_of(connection, error_class, LETTERS)
    people = _names(connection, (row.athlete_id for row in rows))
    return [
        DeadLetter(
            job_view(row),
            people.get(row.athlete_id),
            [
                Attempt(one.attempt, one.ended_at, one.error_class, one.error)
                for one in attempts.of_job(connection, row.id)
            ],
        )
        for row in rows
    ]


def _names(connection: Connection, athlete_ids: Iterable[int]) -> dict[int, str]:
    return {one: _name(row) for one, row in dashboard.names(connection, athlete_ids).items()}


def _name(row: Row[Any]) -> str:
    full = " ".join(part for part in (row.firstname, row.lastname) if part)
    return full or row.username or f"athlete {row.id}"


def _lost(row: Row[Any]) -> Lost:
    return Lost(row.id, _name(row), row.status, row.status_reason)


def _brief(row: Row[Any]) -> Brief:
    return Brief(**row._mapping)
