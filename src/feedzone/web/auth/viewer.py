"""The viewer of a page: role, time zone, units and theme."""

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
COOKIE_LIFETIME_S = 365 * 86_400


@dataclass(frozen=True)
class Viewer:
    """Hashable, because equal viewers share a rendering."""

    is_operator: bool = False
    athlete_id: int | None = None
    signed_in: bool = False
    zone: str = "UTC"
    units: Units = "metric"
    theme: Theme = "auto"

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


def viewer(cookies: dict[str, str], *, is_operator: bool, athlete_id: int | None, signed_in: bool) -> Viewer:
    """Return a viewer with the preferences in the cookies; invalid ones get the default."""
    units = next((units for units in UNITS if units == cookies.get(UNITS_COOKIE)), UNITS[0])
    theme = next((theme for theme in THEMES if theme == cookies.get(THEME_COOKIE)), THEMES[0])
    zone = unquote(cookies.get(ZONE_COOKIE, ""))
    valid_zone = zone if zone in _zones() else "UTC"
    return Viewer(is_operator, athlete_id, signed_in, valid_zone, units, theme)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


CurrentViewer = NamedDependency[SkipValidation[Viewer]]
"""How a handler gets it: an argument `viewer: CurrentViewer`."""
