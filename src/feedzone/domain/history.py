"""Two histories of one athlete that are asked for become one."""

from __future__ import annotations

from .activity import FUTURE
from .job import BackfillHint


def joined(under_way: BackfillHint | None, wanted: BackfillHint) -> BackfillHint:
    """What is to be listed now that `wanted` is asked for: all of both windows.

    What is under way goes on where it is, unless `wanted` reaches further back, or is so much later that
    the newest activities are in no page of it: then both are listed from the first page.
    """
    if under_way is None:
        return wanted
    further = under_way.after is not None and (wanted.after is None or wanted.after < under_way.after)
    later = wanted.before - under_way.before > FUTURE.total_seconds()
    if not further and not later:
        return under_way
    return BackfillHint(before=wanted.before, after=wanted.after if further else under_way.after)
