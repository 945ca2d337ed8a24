"""Compare a list of activities from Strava with the stored rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, bindparam, select, update

from ..domain.activity import ActivityRecord
from .activities import STRAVA_COLUMNS, ensure_rows, storable
from .change_log import same_value
from .engine.dialect import among
from .schema.tables import strava_activities

OPTIONAL_COLUMNS = (
    "elev_high",
    "elev_low",
    "average_heartrate",
    "max_heartrate",
    "average_cadence",
    "average_temp",
    "average_watts",
    "max_watts",
    "weighted_average_watts",
    "kilojoules",
    "start_lat",
    "summary_polyline",
)
"""The columns whose members Strava leaves out of an activity without the channel."""

# A detail has some 80 KB, and a comparison reads hundreds of rows.
_COMPARED = (
    select(*(column for column in strava_activities.c if column.name != "detail"))
    .where(among(strava_activities.c.id, "ids"))
    .order_by(strava_activities.c.id)
    .with_for_update()
)
_ACCEPT = (
    update(strava_activities)
    .where(strava_activities.c.id == bindparam("activity"))
    .values(accepted_difference=bindparam("difference"))
)


class ListDiff(NamedTuple):
    """The summaries without a row before, and those that differ from their row."""

    new: list[ActivityRecord]
    changed: list[ActivityRecord]
    differences: dict[int, str | None]
    """What to remember, by id: a hash of how the summary of a stored activity differs from its row."""


def compare(
    connection: Connection,
    records: Sequence[ActivityRecord],
    now: datetime,
    *,
    retry_failed: bool = True,
    thorough: bool = False,
) -> ListDiff:
    """Return which summaries are new and which differ from their rows.

    An unfinished activity counts as changed, and a failed one does with `retry_failed`. A difference that
    stayed after a fetch counts only if the comparison is `thorough`: list and detail disagree for good.
    Afterwards every row exists and is locked, so that nothing changes between the comparison and the writes
    that follow.
    """
    if not records:
        return ListDiff([], [], {})
    created = ensure_rows(connection, records, now)
    listed = {record.id: record for record in records}
    stored = connection.execute(_COMPARED, {"ids": sorted(listed)}).all()
    rows = {row.id: row for row in stored if row.id not in created}
    usual = {name for record in records for name in OPTIONAL_COLUMNS if record.columns.get(name) is not None}
    changed: list[ActivityRecord] = []
    differences: dict[int, str | None] = {}
    for number, row in rows.items():
        difference = _difference(row, listed[number], usual)
        if difference != row.accepted_difference:
            differences[number] = difference
        accepted = difference is None or (difference == row.accepted_difference and not thorough)
        unfinished = row.sync_status != "synced" and (retry_failed or row.sync_status != "failed")
        if unfinished or not accepted:
            changed.append(listed[number])
    new = [record for number, record in listed.items() if number in created]
    return ListDiff(new, changed, differences)


def accept(connection: Connection, diff: ListDiff) -> None:
    """Remember the differences: the fetch that follows removes each, or else it stays for good."""
    rows = [
        {"activity": number, "difference": difference}
        for number, difference in sorted(diff.differences.items())
    ]
    if rows:
        connection.execute(_ACCEPT, rows)


def _difference(row: Row[Any], record: ActivityRecord, usual: set[str]) -> str | None:
    """Return a hash of the columns that differ, with both values; None when none does.

    A summary may lack a member because its activity has lost the channel, or because lists never have it.
    Members that the older summary or another entry of this list has (`usual`) are not of the latter kind.
    """
    stored = row._mapping
    listed = {name: storable(value) for name, value in record.columns.items() if name in STRAVA_COLUMNS}
    for name in OPTIONAL_COLUMNS:
        if name not in listed and (name in usual or f'"{name}"' in (row.summary or "")):
            listed[name] = None
    differing = {
        name: (stored[name], value) for name, value in listed.items() if not same_value(stored[name], value)
    }
    if not differing:
        return None
    return sha256(msgspec.json.encode(sorted(differing.items()))).hexdigest()
