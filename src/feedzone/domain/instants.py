"""The instants that are possible: far ones overflow in time zones, in drivers and in pages."""

from __future__ import annotations

from datetime import UTC, datetime

YEARS = range(1900, 2200)

FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (YEARS.start, YEARS.stop))
"""All possible instants are from FIRST on, and before LAST."""


def is_possible(instant: datetime) -> bool:
    """Whether an instant, or a local time, can be the time of an activity or of a query for some."""
    return instant.year in YEARS
