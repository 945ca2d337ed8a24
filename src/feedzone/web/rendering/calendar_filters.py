"""How days, weeks and sums of a diary look to people (words.py has the rest)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from ...domain.wording import count
from ...queries.calendar import Day, Month, State, Totals, Week
from .filters import distance
from .units import METRES_A_MILE

METRES_A_FOOT = 0.3048
LEVELS_S = (45 * 60, 90 * 60, 150 * 60)
"""From so many seconds in motion on, a day is darker."""

STATES: dict[State, str] = {"synced": "stored", "pending": "waiting", "failed": "failed"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
BAR, GAP, HIGH = 10, 3, 72


@pass_context
def far(context: Context, metres: float) -> str:
    """A distance that was added up."""
    imperial = context["reader"].units == "imperial"
    number, unit = (metres / METRES_A_MILE, "mi") if imperial else (metres / 1000, "km")
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"


@pass_context
def climb(context: Context, metres: float | None) -> str:
    if context["reader"].units == "imperial":
        return f"{(metres or 0) / METRES_A_FOOT:,.0f} ft"
    return f"{metres or 0:,.0f} m"


def hours(seconds: int) -> str:
    """1 h 05 min; of many hours the minutes say nothing."""
    whole, minutes = seconds // 3600, seconds % 3600 // 60
    if whole >= 20:
        return f"{seconds / 3600:,.0f} h"
    return f"{whole} h {minutes:02} min" if whole else f"{minutes} min"


def level(total: Totals) -> int:
    """How dark a day is: 0 to 4."""
    return sum(total.moving_time >= least for least in LEVELS_S) + 1 if total.activities else 0


def told_day(context: Context, day: Day) -> str:
    """All that a day of the calendar shows by its place and colour, in words."""
    total = day.sum
    parts = [
        count(total.activities, "activity", "activities"),
        hours(total.moving_time) if total.moving_time else "",
        distance(context, total.distance),
        STATES[day.state] if day.state != "synced" else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"{WEEKDAYS[day.date.weekday()]} {day.date.day} {MONTHS[day.date.month - 1]}: {said}"


def columns(month: Month) -> int:
    """How many weeks a month has days of: 4 to 6. Twelve months in a row have 61 to 64 in all."""
    return (month.first.isoweekday() + len(month.days) + 5) // 7


@pass_context
def cells(context: Context, month: Month, address: str, on: str, today: date) -> Markup:
    """The days of a month as list items; `address` takes the day at its end.

    Written here, because a template takes ten times as long for a year of them.
    """
    address = str(escape(address))
    return Markup("\n".join(_cell(context, day, address, on, today) for day in month.days))  # noqa: S704


def _cell(context: Context, day: Day, address: str, on: str, today: date) -> str:
    place = f"w{day.date.isoweekday()}" if day.date.day == 1 else ""
    if not day.sum.activities:
        return f'<li aria-hidden="true" class="{place}{" later" if day.date > today else ""}"></li>'
    iso = day.date.isoformat()
    state = "" if day.state == "synced" else f" {day.state}"
    chosen = ' aria-current="true"' if on == iso else ""
    return (
        f'<li class="{place}"><a class="l{level(day.sum)}{state}" href="{address}{iso}#activities" '
        f'aria-label="{told_day(context, day)}"{chosen}></a></li>'
    )


@pass_context
def wall(context: Context, value: datetime | date, *, clock: bool = False) -> Markup:
    """A day, or a time as the clock on the wall showed it: in no zone, and so in the reader's words alone."""
    this_year = value.year == context["now"].year
    text = f"{WEEKDAYS[value.weekday()][:3]} {value.day} {MONTHS[value.month - 1][:3]}"
    text += "" if this_year else f" {value.year}"
    if clock and isinstance(value, datetime):
        text += f" {value:%H:%M}"
    return Markup(f'<time datetime="{value.isoformat()}">{text}</time>')  # noqa: S704  (digits and names of days)


@dataclass(frozen=True)
class Bar:
    """A week in a chart of bars, in the chart's own units."""

    week: Week
    x: int
    y: float
    height: float


@dataclass(frozen=True)
class Chart:
    bars: list[Bar]
    width: int
    height: int
    most: Week


def chart(weeks: Sequence[Week]) -> Chart:
    """Seconds in motion, week by week."""
    most = max(weeks, key=lambda week: week.sum.moving_time)
    scale = HIGH / max(1, most.sum.moving_time)
    tall = [week.sum.moving_time * scale for week in weeks]
    bars = [
        Bar(week, place * (BAR + GAP), round(HIGH - height, 1), round(height, 1))
        for place, (week, height) in enumerate(zip(weeks, tall, strict=True))
    ]
    return Chart(bars, len(weeks) * (BAR + GAP) - GAP, HIGH, most)


def register(environment: Environment) -> None:
    """Make these known to templates."""
    environment.filters.update(
        far=far, climb=climb, hours=hours, cells=cells, columns=columns, wall=wall, chart=chart
    )
