"""Template filters for the training calendar: days, weeks and totals (filters.py has the rest)."""

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
from .units import METRES_A_FOOT, METRES_A_MILE

LEVELS_S = (45 * 60, 90 * 60, 150 * 60)
"""Moving times in seconds from which on a day is drawn one shade darker."""

STATES: dict[State, str] = {"synced": "synced", "pending": "waiting", "failed": "failed"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
BAR, GAP, HIGH = 10, 3, 72


@pass_context
def total_distance(context: Context, metres: float) -> str:
    """Return a sum of distances: from 100 on without decimals."""
    imperial = context["viewer"].units == "imperial"
    number, unit = (metres / METRES_A_MILE, "mi") if imperial else (metres / 1000, "km")
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"


@pass_context
def elevation(context: Context, metres: float | None) -> str:
    if context["viewer"].units == "imperial":
        return f"{(metres or 0) / METRES_A_FOOT:,.0f} ft"
    return f"{metres or 0:,.0f} m"


def hours(seconds: int) -> str:
    """Return `1 h 05 min`; from 20 hours on without minutes."""
    full_hours, minutes = seconds // 3600, seconds % 3600 // 60
    if full_hours >= 20:
        return f"{seconds / 3600:,.0f} h"
    return f"{full_hours} h {minutes:02} min" if full_hours else f"{minutes} min"


def level(total: Totals) -> int:
    """Return the shade of a day: 0 (no activity) to 4 (longest)."""
    return sum(total.moving_time >= least for least in LEVELS_S) + 1 if total.activities else 0


def describe_day(context: Context, day: Day) -> str:
    """Return as text everything that a day of the calendar shows by its place and colour."""
    total = day.sum
    parts = [
        count(total.activities, "activity", "activities"),
        hours(total.moving_time) if total.moving_time else "",
        distance(context, total.distance),
        STATES[day.state] if day.state != "synced" else "",
    ]
    text = ", ".join(part for part in parts if part)
    return f"{WEEKDAYS[day.date.weekday()]} {day.date.day} {MONTHS[day.date.month - 1]}: {text}"


def columns(month: Month) -> int:
    """Return the number of weeks that a month touches: 4 to 6. Twelve months touch 61 to 64."""
    return (month.first.isoweekday() + len(month.days) + 5) // 7


@pass_context
def cells(context: Context, month: Month, address: str, on: str, today: date) -> Markup:
    """Return the days of a month as list items; `address` takes the day at its end.

    Built in Python, because a template takes ten times as long for a year of days.
    """
    address = str(escape(address))
    return Markup("\n".join(_cell(context, day, address, on, today) for day in month.days))  # noqa: S704


def _cell(context: Context, day: Day, address: str, on: str, today: date) -> str:
    place = f"w{day.date.isoweekday()}" if day.date.day == 1 else ""
    if not day.sum.activities:
        return f'<li aria-hidden="true" class="{place}{" later" if day.date > today else ""}"></li>'
    iso = day.date.isoformat()
    state = "" if day.state == "synced" else f" {day.state}"
    current = ' aria-current="true"' if on == iso else ""
    return (
        f'<li class="{place}"><a class="l{level(day.sum)}{state}" href="{address}{iso}#activities" '
        f'aria-label="{describe_day(context, day)}"{current}></a></li>'
    )


@pass_context
def local_day(context: Context, value: datetime | date) -> Markup:
    """Return a day of the athlete's local time, which no time zone of the viewer may shift."""
    this_year = value.year == context["now"].year
    text = f"{WEEKDAYS[value.weekday()][:3]} {value.day} {MONTHS[value.month - 1][:3]}"
    text += "" if this_year else f" {value.year}"
    return Markup(f'<time datetime="{value.isoformat()}">{text}</time>')  # noqa: S704  (digits and names of days)


@dataclass(frozen=True)
class Bar:
    """A week in a bar chart, in the chart's own units."""

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


def week_chart(weeks: Sequence[Week]) -> Chart:
    """Return the bars of the moving time per week."""
    most = max(weeks, key=lambda week: week.sum.moving_time)
    scale = HIGH / max(1, most.sum.moving_time)
    heights = [week.sum.moving_time * scale for week in weeks]
    bars = [
        Bar(week, place * (BAR + GAP), round(HIGH - height, 1), round(height, 1))
        for place, (week, height) in enumerate(zip(weeks, heights, strict=True))
    ]
    return Chart(bars, len(weeks) * (BAR + GAP) - GAP, HIGH, most)


def register(environment: Environment) -> None:
    """Add these filters to the templates' environment."""
    environment.filters.update(
        total_distance=total_distance,
        elevation=elevation,
        hours=hours,
        cells=cells,
        columns=columns,
        local_day=local_day,
        week_chart=week_chart,
    )
