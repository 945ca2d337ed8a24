"""The cities where sandbox athletes live, with their local time and weather.

The daylight-saving rules are computed here, not read from the system's zone files, so that a seed gives the
same world on every machine. As at Strava, `timezone` carries the standard offset while `utc_offset` follows
daylight saving (docs/strava-api.md#resources).
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import cos, pi


@dataclass(frozen=True, slots=True)
class City:
    """A home town. Altitudes and hill heights in metres, temperatures in degrees Celsius."""

    name: str
    state: str
    country: str
    lat: float
    lng: float
    zone: str
    standard_offset_s: int
    dst: str
    altitude: float
    hills: float
    mean_temp: float
    swing_temp: float


CITIES = (
    City("New York", "NY", "United States", 40.777, -73.971, "America/New_York", -18000, "us", 24, 9, 13, 12),
    City("Boulder", "CO", "United States", 40.015, -105.27, "America/Denver", -25200, "us", 1655, 60, 11, 12),
    City("Girona", "Catalonia", "Spain", 41.9794, 2.8214, "Europe/Madrid", 3600, "eu", 110, 45, 16, 9),
    City("Leeds", "England", "United Kingdom", 53.8008, -1.5491, "Europe/London", 0, "eu", 95, 28, 10, 7),
    City("Innsbruck", "Tyrol", "Austria", 47.2692, 11.4041, "Europe/Vienna", 3600, "eu", 640, 70, 10, 11),
    City("Utrecht", "Utrecht", "Netherlands", 52.0907, 5.1214, "Europe/Amsterdam", 3600, "eu", 12, 2, 11, 8),
    City("Bengaluru", "Karnataka", "India", 12.9716, 77.5946, "Asia/Kolkata", 19800, "none", 900, 18, 24, 3),
    City("Kyoto", "Kyoto", "Japan", 35.0116, 135.7681, "Asia/Tokyo", 32400, "none", 80, 40, 16, 12),
    City("Sydney", "NSW", "Australia", -33.8688, 151.2093, "Australia/Sydney", 36000, "au", 40, 16, 18, -6),
    City("Medellín", "ANT", "Colombia", 6.2442, -75.5812, "America/Bogota", -18000, "none", 1560, 75, 22, 1),
)  # fmt: skip


def utc_offset_s(city: City, epoch: float) -> int:
    """Return the city's UTC offset in seconds at this time, including daylight saving."""
    starts, ends = _dst_bounds(city.dst, datetime.fromtimestamp(epoch, UTC).year, city.standard_offset_s)
    inside = starts <= epoch < ends if starts <= ends else not ends <= epoch < starts
    return city.standard_offset_s + (3600 if inside else 0)


def zone_label(city: City) -> str:
    """Return the `timezone` text of an activity, e.g. "(GMT-05:00) America/New_York"."""
    minutes = abs(city.standard_offset_s) // 60
    sign = "-" if city.standard_offset_s < 0 else "+"
    return f"(GMT{sign}{minutes // 60:02d}:{minutes % 60:02d}) {city.zone}"


def temperature(city: City, epoch: float) -> float:
    """Return the expected temperature in degrees Celsius, from the season and the hour."""
    day = datetime.fromtimestamp(epoch + city.standard_offset_s, UTC)
    season = -cos(2 * pi * (day.timetuple().tm_yday - 20) / 365.25)
    hour = -cos(2 * pi * (day.hour - 3) / 24)
    return city.mean_temp + city.swing_temp * season + 3.5 * hour


@lru_cache(maxsize=512)
def _dst_bounds(rule: str, year: int, standard_offset_s: int) -> tuple[float, float]:
    if rule == "us":
        start, end = _sunday(year, 3, 2, 2), _sunday(year, 11, 1, 1)
        return start - standard_offset_s, end - standard_offset_s
    if rule == "eu":
        return _last_sunday(year, 3), _last_sunday(year, 10)
    if rule == "au":
        start, end = _sunday(year, 10, 1, 2), _sunday(year, 4, 1, 2)
        return start - standard_offset_s, end - standard_offset_s
    return 0.0, 0.0


def _sunday(year: int, month: int, nth: int, hour: int) -> float:
    first = datetime(year, month, 1, hour, tzinfo=UTC)
    return (first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))).timestamp()


def _last_sunday(year: int, month: int) -> float:
    last = datetime(year, month, calendar.monthrange(year, month)[1], 1, tzinfo=UTC)
    return (last - timedelta(days=(last.weekday() + 1) % 7)).timestamp()
