"""The instants that are possible: far ones overflow in time zones, in drivers and in pages."""

from __future__ import annotations

from datetime import datetime

YEARS = range(1900, 2200)


def is_possible(instant: datetime) -> bool:
    """Whether an instant, or a local time, can be the time of an activity or of a query for some."""
    return instant.year in YEARS
