"""What an activity's page says of it in figures."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ...domain.activity_details import Lap, Split
from ...queries.activities import Activity
from ...queries.activity_history import ActivityHistory
from ..auth.viewer import Units
from .filters import clock_time
from .units import Measures

VISIBLE = {"everyone": "Everyone", "followers_only": "Followers", "only_me": "Only the athlete"}


class Fact(NamedTuple):
    label: str
    value: str


def headline(one: Activity, told: Measures) -> list[Fact]:
    """The figures that come first."""
    pace = "Pace" if told.speed.is_pace else "Speed"
    return _said(
        ("Distance", told.distance.text(one.distance) if one.distance else ""),
        ("Moving time", clock_time(one.moving_time)),
        (f"Average {pace.lower()}", told.speed.text(one.average_speed) if one.average_speed else ""),
        ("Elevation gain", told.height.text(one.total_elevation_gain) if one.total_elevation_gain else ""),
        ("Average heart rate", told.heartrate.text(one.average_heartrate) if one.average_heartrate else ""),
        ("Average power", told.power.text(one.average_watts) if one.average_watts else ""),
    )


def figures(one: Activity, told: Measures) -> list[Fact]:
    """All others. An average without what it is the average of is not told: the headline has it."""
    fastest = "Fastest pace" if told.speed.is_pace else "Highest speed"
    heights = " to ".join(told.height.number(one.elev_low if low else one.elev_high) for low in (True, False))
    return _said(
        ("Elapsed time", clock_time(one.elapsed_time)),
        (fastest, told.speed.text(one.max_speed) if one.max_speed else ""),
        ("Highest heart rate", told.heartrate.text(one.max_heartrate) if one.max_heartrate else ""),
        ("Highest power", told.power.text(one.max_watts) if one.max_watts else ""),
        ("Weighted power", told.power.text(one.weighted_average_watts) if one.weighted_average_watts else ""),
        ("Average cadence", told.cadence.text(one.average_cadence) if one.average_cadence else ""),
        (
            "Altitude",
            f"{heights} {told.height.unit}" if one.elev_high is not None is not one.elev_low else "",
        ),
        (
            "Average temperature",
            told.temperature.text(one.average_temp) if one.average_temp is not None else "",
        ),
        ("Work", f"{one.kilojoules:,.0f} kJ" if one.kilojoules else ""),
        ("Energy", f"{one.calories:,.0f} kcal" if one.calories else ""),
        ("Relative effort", f"{one.suffer_score:.0f}" if one.suffer_score else ""),
        ("Perceived exertion", f"{one.perceived_exertion:.0f} of 10" if one.perceived_exertion else ""),
    )


def about(file: ActivityHistory, one: Activity) -> list[Fact]:
    """Who may see it at Strava, with what it was recorded, and how it is marked."""
    visible = VISIBLE.get(one.visibility or "", one.visibility or ("Only the athlete" if one.private else ""))
    marks = [
        text
        for text, is_so in (
            ("entered by hand", one.manual),
            ("indoors", one.trainer),
            ("commute", one.commute),
            ("flagged at Strava", one.flagged),
            ("hidden from feeds", one.hide_from_home),
        )
        if is_so
    ]
    return _said(
        ("Visible to", visible),
        ("Gear", file.gear or (one.gear_id or "")),
        ("Device", one.device_name or ""),
        ("Marked", ", ".join(marks)),
    )


def _said(*facts: tuple[str, str]) -> list[Fact]:
    return [Fact(label, value) for label, value in facts if value and value != "—"]


def started(one: Activity) -> str:
    """In wall time where it happened: a morning run was in the morning, wherever one reads of it."""
    local: datetime | None = one.start_date_local
    if local is None:
        return ""
    day = f"{local:%A}, {local.day} {local:%B %Y}"
    if one.start_hidden:
        return f"{day}, time of day hidden by the athlete"
    zone = f" ({one.timezone.replace('_', ' ')})" if one.timezone else ""
    return f"{day}, {local:%H:%M}{zone}"


class Row(NamedTuple):
    """A lap or a split in words. `share`: of the fastest one's speed, in percent."""

    name: str
    distance: str
    time: str
    speed: str
    share: int
    height: str
    heartrate: str
    power: str


class Table(NamedTuple):
    rows: list[Row]
    heights: bool
    heartrates: bool
    powers: bool
    """Which columns there is something in."""
    fastest: str
    slowest: str


def laps(file: ActivityHistory, told: Measures) -> Table:
    """One lap alone is the whole activity again."""
    found = file.parts.laps if len(file.parts.laps) > 1 else ()
    rows = [
        _row(
            lap,
            _lap_name(lap, number),
            told,
            lap.total_elevation_gain,
            lap.average_watts,
            _fastest(found),
        )
        for number, lap in enumerate(found, 1)
    ]
    return _table(rows)


def _lap_name(lap: Lap, number: int) -> str:
    """Most devices name a lap after its number; that alone reads faster."""
    return str(number) if lap.name in (None, "", f"Lap {number}") else str(lap.name)


def splits(file: ActivityHistory, told: Measures, units: Units) -> Table:
    found = file.parts.miles if units == "imperial" else file.parts.kilometres
    whole = max((one.distance or 0 for one in found), default=0)
    rows = []
    for one in found if len(found) > 1 else ():
        rest = one is found[-1] and (one.distance or 0) < whole * 0.95
        name = told.distance.number(one.distance) if rest else str(one.split)
        rows.append(_row(one, name, told, one.elevation_difference, None, _fastest(found)))
    return _table(rows)


def _fastest(found: tuple[Lap, ...] | tuple[Split, ...]) -> float:
    """Of those that are long enough to tell."""
    half = max((one.distance or 0 for one in found), default=0) / 2
    return max((one.average_speed or 0 for one in found if (one.distance or 0) >= half), default=0) or 1.0


def _row(
    one: Lap | Split, name: str, told: Measures, height: float | None, power: float | None, fastest: float
) -> Row:
    def text(number: str) -> str:
        return "" if number == "—" else number

    return Row(
        name,
        text(told.distance.number(one.distance)),
        clock_time(one.moving_time),
        text(told.speed.number(one.average_speed)),
        min(100, round(100 * (one.average_speed or 0) / fastest)),
        text(told.height.number(height)),
        text(told.heartrate.number(one.average_heartrate)),
        text(told.power.number(power)),
    )


def _table(rows: list[Row]) -> Table:
    return Table(
        rows,
        any(row.height not in ("", "0") for row in rows),
        any(row.heartrate for row in rows),
        any(row.power for row in rows),
        max(rows, key=lambda row: row.share).speed if rows else "",
        min(rows, key=lambda row: row.share).speed if rows else "",
    )
