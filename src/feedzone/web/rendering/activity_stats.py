"""The figures on an activity's page: headline, details, laps and splits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from ...domain.activity_details import Lap, Split
from ...queries.activities import Activity
from ...queries.activity_history import ActivityHistory
from ..auth.viewer import Units
from .filters import clock_time
from .units import Measures

Formatter = Callable[[float | None], str]

VISIBLE = {"everyone": "Everyone", "followers_only": "Followers", "only_me": "Only the athlete"}


class Stat(NamedTuple):
    label: str
    value: str


def headline(activity: Activity, measures: Measures) -> list[Stat]:
    """Return the figures at the top of the page."""
    pace = "Pace" if measures.speed.is_pace else "Speed"
    return _with_values(
        ("Distance", _text(measures.distance.text, activity.distance)),
        ("Moving time", clock_time(activity.moving_time)),
        (f"Average {pace.lower()}", _text(measures.speed.text, activity.average_speed)),
        ("Elevation gain", _text(measures.height.text, activity.total_elevation_gain)),
        ("Average heart rate", _text(measures.heartrate.text, activity.average_heartrate)),
        ("Average power", _text(measures.power.text, activity.average_watts)),
    )


def details(activity: Activity, measures: Measures) -> list[Stat]:
    """Return all other figures; the averages of the headline are not repeated."""
    fastest = "Fastest pace" if measures.speed.is_pace else "Max speed"
    heights = (activity.elev_low, activity.elev_high)
    altitude = " to ".join(measures.height.number(height) for height in heights)
    temperature = activity.average_temp
    return _with_values(
        ("Elapsed time", clock_time(activity.elapsed_time)),
        (fastest, _text(measures.speed.text, activity.max_speed)),
        ("Max heart rate", _text(measures.heartrate.text, activity.max_heartrate)),
        ("Max power", _text(measures.power.text, activity.max_watts)),
        ("Weighted power", _text(measures.power.text, activity.weighted_average_watts)),
        ("Average cadence", _text(measures.cadence.text, activity.average_cadence)),
        ("Altitude", "" if None in heights else f"{altitude} {measures.height.unit}"),
        # Zero degrees is a temperature, so only a missing value is left out.
        ("Average temperature", "" if temperature is None else measures.temperature.text(temperature)),
        ("Work", f"{activity.kilojoules:,.0f} kJ" if activity.kilojoules else ""),
        ("Energy", f"{activity.calories:,.0f} kcal" if activity.calories else ""),
        ("Relative effort", f"{activity.suffer_score:.0f}" if activity.suffer_score else ""),
        (
            "Perceived exertion",
            f"{activity.perceived_exertion:.0f} of 10" if activity.perceived_exertion else "",
        ),
    )


def about(file: ActivityHistory, activity: Activity) -> list[Stat]:
    """Return its visibility at Strava, gear, device and tags."""
    private = "Only the athlete" if activity.private else ""
    visible = VISIBLE.get(activity.visibility or "", activity.visibility or private)
    tags = (
        ("entered manually", activity.manual),
        ("indoors", activity.trainer),
        ("commute", activity.commute),
        ("flagged at Strava", activity.flagged),
        ("hidden from feeds", activity.hide_from_home),
    )
    return _with_values(
        ("Visible to", visible),
        ("Gear", file.gear or (activity.gear_id or "")),
        ("Device", activity.device_name or ""),
        ("Tags", ", ".join(text for text, applies in tags if applies)),
    )


def _text(format_value: Formatter, value: float | None) -> str:
    return format_value(value) if value else ""


def _with_values(*stats: tuple[str, str]) -> list[Stat]:
    return [Stat(label, value) for label, value in stats if value and value != "—"]


def started(activity: Activity) -> str:
    """Return the start in local time of the place: a morning run stays a morning run for every viewer."""
    local: datetime | None = activity.start_date_local
    if local is None:
        return ""
    day = f"{local:%A}, {local.day} {local:%B %Y}"
    if activity.start_hidden:
        return f"{day}, time hidden by the athlete"
    zone = f" ({activity.timezone.replace('_', ' ')})" if activity.timezone else ""
    return f"{day}, {local:%H:%M}{zone}"


class Row(NamedTuple):
    """A lap or a split as text. `share`: its speed in percent of the fastest row's."""

    name: str
    distance: str
    time: str
    speed: str
    share: int
    height: str
    heartrate: str
    power: str


class Table(NamedTuple):
    """Laps or splits. The flags say which optional columns have values."""

    rows: list[Row]
    heights: bool
    heartrates: bool
    powers: bool
    fastest: str
    slowest: str


def laps(file: ActivityHistory, measures: Measures) -> Table:
    """Return the laps; a single lap would only repeat the whole activity."""
    selected = file.parts.laps if len(file.parts.laps) > 1 else ()
    fastest = _fastest(selected)
    rows = [
        _row(lap, _lap_name(lap, number), measures, lap.total_elevation_gain, lap.average_watts, fastest)
        for number, lap in enumerate(selected, 1)
    ]
    return _table(rows)


def _lap_name(lap: Lap, number: int) -> str:
    """Return the number alone where the device named the lap after it: that is faster to read."""
    return str(number) if lap.name in (None, "", f"Lap {number}") else str(lap.name)


def splits(file: ActivityHistory, measures: Measures, units: Units) -> Table:
    """Return one row per kilometre or mile; an incomplete last one is named by its distance."""
    splits = file.parts.miles if units == "imperial" else file.parts.kilometres
    full = max((split.distance or 0 for split in splits), default=0)
    fastest = _fastest(splits)
    rows = []
    for split in splits if len(splits) > 1 else ():
        is_rest = split is splits[-1] and (split.distance or 0) < full * 0.95
        name = measures.distance.number(split.distance) if is_rest else str(split.split)
        rows.append(_row(split, name, measures, split.elevation_difference, None, fastest))
    return _table(rows)


def _fastest(parts: tuple[Lap, ...] | tuple[Split, ...]) -> float:
    """Return the best average speed among parts that are at least half as long as the longest."""
    half = max((part.distance or 0 for part in parts), default=0) / 2
    return max((part.average_speed or 0 for part in parts if (part.distance or 0) >= half), default=0) or 1.0


def _row(
    part: Lap | Split,
    name: str,
    measures: Measures,
    height: float | None,
    power: float | None,
    fastest: float,
) -> Row:
    def text(number: str) -> str:
        return "" if number == "—" else number

    return Row(
        name,
        text(measures.distance.number(part.distance)),
        clock_time(part.moving_time),
        text(measures.speed.number(part.average_speed)),
        min(100, round(100 * (part.average_speed or 0) / fastest)),
        text(measures.height.number(height)),
        text(measures.heartrate.number(part.average_heartrate)),
        text(measures.power.number(power)),
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
