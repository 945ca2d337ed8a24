"""Who reads a page, and how they like it: role, time zone, units, theme."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo, available_timezones

from litestar.di import NamedDependency
from litestar.params import SkipValidation

Units = Literal["metric", "imperial"]
Theme = Literal["auto", "light", "dark"]

UNITS: tuple[Units, ...] = ("metric", "imperial")
THEMES: tuple[Theme, ...] = ("auto", "light", "dark")
ZONE_COOKIE, UNITS_COOKIE, THEME_COOKIE = "feedzone_zone", "feedzone_units", "feedzone_theme"
KEPT_S = 365 * 86_400


@dataclass(frozen=True)
class Viewer:
    """Hashable: two readers who are equal see the same."""

    is_operator: bool = False
    athlete_id: int | None = None
    signed_in: bool = False
    zone: str = "UTC"
    units: Units = "metric"
    theme: Theme = "auto"

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


def reader(cookies: dict[str, str], *, is_operator: bool, athlete_id: int | None, signed_in: bool) -> Viewer:
    """What the cookies say; what they say wrongly is passed over."""
    units = next((one for one in UNITS if one == cookies.get(UNITS_COOKIE)), UNITS[0])
    theme = next((one for one in THEMES if one == cookies.get(THEME_COOKIE)), THEMES[0])
    zone = unquote(cookies.get(ZONE_COOKIE, ""))
    known = zone if zone in _known_zones() else "UTC"
    return Viewer(is_operator, athlete_id, signed_in, known, units, theme)


@cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


WhoReads = NamedDependency[SkipValidation[Viewer]]
"""How a handler asks for them: an argument `reader: WhoReads`."""
