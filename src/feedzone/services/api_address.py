"""Compare STRAVA_API_BASE_URL with what answers there: the address of the API moves in 2027."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ..strava.application import StravaApplication

PREFIXES = ("/api/v3", "")
"""The prefixes of the present and of the next address (docs/strava-api.md#hosts)."""


class AddressProblem(NamedTuple):
    text: str
    remedy: str


async def address_problem(application: StravaApplication) -> AddressProblem | None:
    """Return why Strava's API is not at the configured address; None if it answers there.

    A call without a token costs nothing, and Strava refuses it in its own words.
    """
    base = application.api_base
    if await application.is_at(base):
        return None
    parts = urlsplit(base)
    origin = f"{parts.scheme}://{parts.netloc}"
    for other in (f"{origin}{prefix}" for prefix in PREFIXES):
        if other != base and await application.is_at(other):
            text = f"STRAVA_API_BASE_URL {base} has a wrong prefix: Strava answers at {other}"
            return AddressProblem(text, f"Set STRAVA_API_BASE_URL={other} and start feedzone again.")
    return AddressProblem(
        f"Strava's API does not answer at STRAVA_API_BASE_URL {base}",
        "Check the address, the network and any proxy between. Nothing is lost: all work waits.",
    )
