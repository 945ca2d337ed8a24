"""How a second backfill of an athlete joins the one that is under way."""

from __future__ import annotations

from .activity import LIST_AHEAD
from .job import BackfillHint


def merge_backfills(under_way: BackfillHint | None, requested: BackfillHint) -> BackfillHint:
    """Return what to list once `requested` comes in: the union of both windows.

    The backfill under way continues where it is, with two exceptions: `requested` reaches further back, or
    is later by enough time that no page of the current list shows the newest activities. Then both windows
    are listed from the first page.
    """
    if under_way is None:
        return requested
    further = under_way.after is not None and (requested.after is None or requested.after < under_way.after)
    later = requested.before - under_way.before > LIST_AHEAD.total_seconds()
    if not further and not later:
        return under_way
    return BackfillHint(before=requested.before, after=requested.after if further else under_way.after)
