"""An athlete's activities by day: the calendar, totals, and the list.

A calendar shows the twelve months up to today, or those of a year. Days and weeks go by the wall clock where
the activity happened; weeks begin on Monday.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, TypeVar

from msgspec import Struct

from ..store.engine.database import Connection, Database, Row
from ..store.reads import calendar
from ..store.reads.calendar import Group
from .athletes import Gear, gear_of
from .paging import Int64, bad_cursor, decode_cursor, page_of
from .rows import from_row

State = Literal["synced", "pending", "failed"]
WORST_FIRST: tuple[State, ...] = ("failed", "pending", "synced")
PAGE_SIZE, UNDATED = 30, 20
RECENTLY_FETCHED = 8
DAY, WEEK = timedelta(days=1), timedelta(days=7)
YEARS = (1970, 2100)

K = TypeVar("K")


class Totals(Struct):
    """Several activities together: number, m, s, m of elevation gain."""

    activities: int = 0
    distance: float = 0.0
    moving_time: int = 0
    climb: float = 0.0

    def add(self, part: Group | Totals) -> None:
        self.activities += part.activities
        self.distance += part.distance
        self.moving_time += part.moving_time
        self.climb += part.climb


class Day(Struct):
    date: date
    sum: Totals
    state: State = "synced"
    """The worst state among the activities of the day."""


class Month(Struct, frozen=True):
    """`days` holds every day of the month."""

    first: date
    days: list[Day]
    sum: Totals


class Week(Struct, frozen=True):
    monday: date
    sum: Totals


class Entry(Struct, frozen=True):
    """A line of the list."""

    id: int
    athlete_id: int
    name: str | None
    sport_type: str | None
    distance: float | None
    moving_time: int | None
    total_elevation_gain: float | None
    start_date_local: datetime | None
    sync_status: str


class EntryPage(Struct, frozen=True):
    """The latest day first."""

    items: list[Entry]
    next_cursor: str | None = None


class CalendarFilter(Struct, frozen=True):
    """The part of a calendar to show. `year` None: the twelve months up to today."""

    year: int | None = None
    between: tuple[date, date] | None = None
    search: str = ""
    sport_type: str | None = None
    state: State | None = None
    cursor: str | None = None

    @property
    def is_narrowed(self) -> bool:
        return bool(self.between or self.search or self.sport_type or self.state)


class TrainingCalendar(Struct, frozen=True):
    months: list[Month]
    weeks: list[Week]
    by_sport: dict[str, Totals]
    total: Totals
    years: list[int]
    """From the year of the latest activity back to the year of the first."""
    sports: list[str]
    undated: list[Entry]
    entries: EntryPage
    gear: list[Gear]

    @property
    def is_empty(self) -> bool:
        return not self.years and not self.undated and not self.entries.items


class CalendarQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, athlete_id: int, where: CalendarFilter, today: date) -> TrainingCalendar:
        """Return an athlete's calendar. Raises InvalidInput for a bad cursor."""
        return await self._database.read(lambda c: calendar_of(c, athlete_id, where, today))

    async def recently_fetched(self, athlete_id: int) -> list[Entry]:
        """Return the athlete's activities that were fetched last, the latest first."""
        rows = await self._database.read(lambda c: calendar.fetched(c, athlete_id, RECENTLY_FETCHED))
        return [_entry(row) for row in rows]


def calendar_of(
    connection: Connection, athlete_id: int, where: CalendarFilter, today: date
) -> TrainingCalendar:
    """Raises InvalidInput for a bad cursor."""
    first, last = shown(where.year, today)
    groups = calendar.sums(connection, athlete_id, first, last)
    reached = max([today, *(group.day for group in groups)])
    by_sport = _summed((group.sport_type or "", group) for group in groups)
    span = calendar.span(connection, athlete_id)
    return TrainingCalendar(
        _months(first, last, groups),
        _weeks(first, min(last, reached), groups),
        dict(sorted(by_sport.items(), key=lambda item: item[1].moving_time, reverse=True)),
        _total(groups),
        [] if span is None else list(range(span[1].year, span[0].year - 1, -1)),
        calendar.sports(connection, athlete_id),
        _undated(connection, athlete_id, where),
        entries(connection, athlete_id, where, today),
        gear_of(connection, athlete_id),
    )


def entries(connection: Connection, athlete_id: int, where: CalendarFilter, today: date) -> EntryPage:
    cursor = decode_cursor(where.cursor, tuple[datetime, Int64])
    if cursor is not None and cursor[0].tzinfo is not None:
        raise bad_cursor()
    rows = calendar.listing(
        connection,
        athlete_id,
        between=where.between or (None if where.year is None else shown(where.year, today)),
        search=where.search,
        sport_type=where.sport_type,
        states=_statuses(where.state),
        cursor=cursor,
        limit=PAGE_SIZE + 1,
    )
    return page_of(EntryPage, rows, PAGE_SIZE, _entry, lambda row: (row.start_date_local, row.id))


def _undated(connection: Connection, athlete_id: int, where: CalendarFilter) -> list[Entry]:
    if where.cursor or where.between or where.search or where.sport_type or where.year:
        return []
    rows = calendar.undated(connection, athlete_id, _statuses(where.state), UNDATED)
    return [_entry(row) for row in rows]


def _entry(row: Row[Any]) -> Entry:
    return from_row(row, Entry)


def _statuses(state: State | None) -> tuple[str, ...]:
    if state is None:
        return ()
    return calendar.UNFINISHED if state == "pending" else (state,)


def shown(year: int | None, today: date) -> tuple[date, date]:
    """Return the first and the last day of the twelve months."""
    if year is not None:
        return date(year, 1, 1), date(year, 12, 31)
    after = next_month(today)
    return date(after.year - 1, after.month, 1), after - timedelta(days=1)


def next_month(day: date) -> date:
    """Return the first day of the month after that of `day`."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _months(first: date, last: date, groups: Sequence[Group]) -> list[Month]:
    days = _days(groups)
    months = []
    while first <= last:
        after = next_month(first)
        dates = (first + n * DAY for n in range((after - first).days))
        of_month = [days.get(day) or Day(day, Totals()) for day in dates]
        total = _total(day.sum for day in of_month if day.sum.activities)
        months.append(Month(first, of_month, total))
        first = after
    return months


def _weeks(first: date, last: date, groups: Sequence[Group]) -> list[Week]:
    sums = _summed((monday(group.day), group) for group in groups)
    begin, count = monday(first), (monday(last) - monday(first)).days // 7 + 1
    return [Week(day, sums.get(day, Totals())) for day in (begin + n * WEEK for n in range(count))]


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _summed(groups: Iterable[tuple[K, Group]]) -> dict[K, Totals]:
    sums: dict[K, Totals] = {}
    for key, group in groups:
        sums.setdefault(key, Totals()).add(group)
    return sums


def _days(groups: Iterable[Group]) -> dict[date, Day]:
    """Return the days that have activities."""
    days: dict[date, Day] = {}
    for group in groups:
        state: State = "pending" if group.sync_status in calendar.UNFINISHED else group.sync_status  # type: ignore[assignment]
        day = days.get(group.day)
        if day is None:
            day = days[group.day] = Day(group.day, Totals(), state)
        elif state != day.state:
            day.state = min(state, day.state, key=WORST_FIRST.index)
        day.sum.add(group)
    return days


def _total(parts: Iterable[Group | Totals]) -> Totals:
    total = Totals()
    for part in parts:
        total.add(part)
    return total
