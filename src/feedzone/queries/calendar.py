"""Read model of an athlete's activities by day: a calendar, sums, and the list of them.

A diary shows twelve months: those up to today, or a year's. Days and weeks are those of the wall clock where
the activity happened; weeks begin on Monday.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from ..errors import InvalidInput
from ..store.engine.database import Connection, Row
from ..store.reads import calendar
from ..store.reads.calendar import Group
from . import activities as belongings
from .paging import cursor as place_of
from .paging import page
from .schemas.core import Gear

State = Literal["synced", "pending", "failed"]
WORST_FIRST: tuple[State, ...] = ("failed", "pending", "synced")
A_PAGE, UNDATED = 30, 20
DAY, WEEK = timedelta(days=1), timedelta(days=7)
YEARS = (1970, 2100)

K = TypeVar("K")
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Sum(Struct):
    """Several activities together: how many, m, s, m of climb."""

    activities: int = 0
    distance: float = 0.0
    moving_time: int = 0
    climb: float = 0.0

    def add(self, part: Group | Sum) -> None:
        self.activities += part.activities
        self.distance += part.distance
        self.moving_time += part.moving_time
        self.climb += part.climb


class Day(Struct):
    date: date
    sum: Sum
    state: State = "synced"
    """That of the activity which is worst off."""


class Month(Struct, frozen=True):
    """`days` holds every day of the month."""

    first: date
    days: list[Day]
    sum: Sum


class Week(Struct, frozen=True):
    monday: date
    sum: Sum


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


class Wanted(Struct, frozen=True):
    """What of a diary is asked for. `year` None: the twelve months up to today."""

    year: int | None = None
    between: tuple[date, date] | None = None
    search: str = ""
    sport_type: str | None = None
    state: State | None = None
    cursor: str | None = None

    @property
    def is_narrowed(self) -> bool:
        return bool(self.between or self.search or self.sport_type or self.state)


class Diary(Struct, frozen=True):
    months: list[Month]
    weeks: list[Week]
    by_sport: dict[str, Sum]
    whole: Sum
    years: list[int]
    """From that of the latest activity back to that of the first."""
    sports: list[str]
    undated: list[Entry]
    entries: EntryPage
    gear: list[Gear]

    @property
    def is_empty(self) -> bool:
        return not self.years and not self.undated and not self.entries.items


def read(connection: Connection, athlete_id: int, wanted: Wanted, today: date) -> Diary:
    """Raises InvalidInput for a cursor that is none."""
    first, last = shown(wanted.year, today)
    groups = calendar.sums(connection, athlete_id, first, last)
    reached = max([today, *(group.day for group in groups)])
    by_sport = _summed((group.sport_type or "", group) for group in groups)
    span = calendar.span(connection, athlete_id)
    return Diary(
        _months(first, last, groups),
        _weeks(first, min(last, reached), groups),
        dict(sorted(by_sport.items(), key=lambda one: one[1].moving_time, reverse=True)),
        _whole(groups),
        [] if span is None else list(range(span[1].year, span[0].year - 1, -1)),
        calendar.sports(connection, athlete_id),
        _undated(connection, athlete_id, wanted),
        entries(connection, athlete_id, wanted, today),
        belongings.gear(connection, athlete_id).items,
    )


def entries(connection: Connection, athlete_id: int, wanted: Wanted, today: date) -> EntryPage:
    cursor = place_of(wanted.cursor, tuple[datetime, Int64])
    if cursor is not None and cursor[0].tzinfo is not None:
        raise InvalidInput("cursor: takes the next_cursor of an answer to the same question")
    rows = calendar.listing(
        connection,
        athlete_id,
        between=wanted.between or (None if wanted.year is None else shown(wanted.year, today)),
        search=wanted.search,
        sport_type=wanted.sport_type,
        states=_states(wanted.state),
        cursor=cursor,
        limit=A_PAGE + 1,
    )
    return page(EntryPage, rows, A_PAGE, entry, lambda row: (row.start_date_local, row.id))


def _undated(connection: Connection, athlete_id: int, wanted: Wanted) -> list[Entry]:
    if wanted.cursor or wanted.between or wanted.search or wanted.sport_type or wanted.year:
        return []
    return [entry(row) for row in calendar.undated(connection, athlete_id, _states(wanted.state), UNDATED)]


def entry(row: Row[Any]) -> Entry:
    return Entry(**row._mapping)


def _states(state: State | None) -> tuple[str, ...]:
    if state is None:
        return ()
    return calendar.UNFINISHED if state == "pending" else (state,)


def shown(year: int | None, today: date) -> tuple[date, date]:
    """The first and the last day of the twelve months."""
    if year is not None:
        return date(year, 1, 1), date(year, 12, 31)
    after = next_month(today)
    return date(after.year - 1, after.month, 1), after - timedelta(days=1)


def next_month(day: date) -> date:
    """The first day of the month after that of `day`."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _months(first: date, last: date, groups: Sequence[Group]) -> list[Month]:
    days = _days(groups)
    months = []
    while first <= last:
        after = next_month(first)
        its = [
            days.get(day) or Day(day, Sum()) for day in (first + n * DAY for n in range((after - first).days))
        ]
        months.append(Month(first, its, _whole(day.sum for day in its if day.sum.activities)))
        first = after
    return months


def _weeks(first: date, last: date, groups: Sequence[Group]) -> list[Week]:
    sums = _summed((monday(group.day), group) for group in groups)
    begin, count = monday(first), (monday(last) - monday(first)).days // 7 + 1
    return [Week(day, sums.get(day, Sum())) for day in (begin + n * WEEK for n in range(count))]


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _summed(groups: Iterable[tuple[K, Group]]) -> dict[K, Sum]:
    sums: dict[K, Sum] = {}
    for key, group in groups:
        sums.setdefault(key, Sum()).add(group)
    return sums


def _days(groups: Iterable[Group]) -> dict[date, Day]:
    """Those on which there is something."""
    days: dict[date, Day] = {}
    for group in groups:
        state: State = "pending" if group.sync_status in calendar.UNFINISHED else group.sync_status  # type: ignore[assignment]
        day = days.get(group.day)
        if day is None:
            day = days[group.day] = Day(group.day, Sum(), state)
        elif state != day.state:
            day.state = min(state, day.state, key=WORST_FIRST.index)
        day.sum.add(group)
    return days


def _whole(parts: Iterable[Group | Sum]) -> Sum:
    whole = Sum()
    for part in parts:
        whole.add(part)
    return whole
