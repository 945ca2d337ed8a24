"""Which tables hold data of one athlete or one activity, derived from the tables themselves.

A new table with an `athlete_id` is emptied when the athlete leaves, and one with an `activity_id` when the
activity is deleted. To keep its rows, list it here with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Table

from .base import DESCRIPTIONS
from .tables import job_attempts, jobs, metadata, strava_activities

KEPT_OF_ATHLETE: Mapping[str, str] = {
    "deletion_receipts": "the proof that the rest is gone",
    "athlete_allowances": "for at most an hour, so that to leave and come back does not refill it",
    "call_log": "the count of calls stays, but no longer says for which athlete (purge.purge)",
}

KEPT_OF_ACTIVITY: Mapping[str, str] = {
    "activity_changes": "says when the activity was deleted; the values go (activities.tombstone)",
    "call_log": "the count of calls stays, for eight days",
}

_LOCKED_FIRST = (jobs, job_attempts, strava_activities)
"""Every transaction locks jobs before activities (lifecycle.lock)."""


def _tables_with(column: str, exceptions: Mapping[str, str]) -> tuple[Table, ...]:
    """Return the tables that have this column, except those whose rows are kept."""
    tables = [table for table in metadata.sorted_tables if column in table.c and table.name not in exceptions]
    order = {table.name: place for place, table in enumerate(_LOCKED_FIRST)}
    return tuple(sorted(tables, key=lambda table: order.get(table.name, len(order))))


ATHLETE_TABLES = _tables_with("athlete_id", KEPT_OF_ATHLETE)
"""Emptied of an athlete's rows by the purge, in the order in which they are locked."""

ACTIVITY_TABLES = _tables_with("activity_id", KEPT_OF_ACTIVITY)
"""Emptied of an activity's rows by its tombstone."""

LABELS: Mapping[str, str] = {
    name: description.label for name, description in DESCRIPTIONS.items() if description.label
}
"""What pages call the rows of a table: a receipt counts them."""
