"""Compare a list of activities from Strava with the stored rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from ..domain.activity import ActivityRecord
from .activities import STRAVA_COLUMNS, ensure_rows, storable
from .change_log import same_value
from .schema.tables import strava_activities


class ListDiff(NamedTuple):
    """The summaries without a row before, and those that differ from their row."""

    new: list[ActivityRecord]
    changed: list[ActivityRecord]


def compare(
    connection: Connection, records: Sequence[ActivityRecord], now: datetime, *, retry_failed: bool = True
) -> ListDiff:
    """Return which summaries are new and which differ from their rows.

    An unfinished activity counts as changed, and a failed one does with `retry_failed`. Afterwards every
    row exists and is locked, so that nothing changes between the comparison and the writes that follow.
    """
    if not records:
        return ListDiff([], [])
    created = ensure_rows(connection, records, now)
    listed = {record.id: record for record in records}
    query = (
        select(strava_activities)
        .where(strava_activities.c.id.in_(sorted(listed)))
        .order_by(strava_activities.c.id)
        .with_for_update()
    )
    rows = {row.id: row for row in connection.execute(query).all()}
    changed = [
        record
        for record in listed.values()
        if record.id not in created and _differs(rows[record.id], record, retry_failed)
    ]
    return ListDiff([record for number, record in listed.items() if number in created], changed)


def _differs(row: Row[Any], record: ActivityRecord, retry_failed: bool) -> bool:
    if row.sync_status != "synced" and (retry_failed or row.sync_status != "failed"):
        return True
    stored = row._mapping
    return any(
        not same_value(stored[field], storable(value))
        for field, value in record.columns.items()
        if field in STRAVA_COLUMNS
    )
