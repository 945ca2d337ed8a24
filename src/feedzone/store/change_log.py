"""Write the audit trail: which field of an activity changed, from what to what, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from ..domain.ids import uuid7
from .schema.tables import activity_changes

_INSERT = activity_changes.insert()


def log_changes(
    connection: Connection, row: Row[Any], values: dict[str, Any], cause: str, now: datetime
) -> None:
    """Log each of the values that differs from the stored row."""
    stored = row._mapping
    for field, new in values.items():
        if not same_value(stored[field], new):
            log_change(connection, row.id, row.athlete_id, field, stored[field], new, cause, now)


def same_value(old: Any, new: Any) -> bool:
    """Return True when both values are equal once a database has stored them."""
    if isinstance(old, float) or isinstance(new, float):
        return old is not None and new is not None and abs(old - new) < 1e-9
    return bool(old == new)


def log_change(
    connection: Connection,
    activity_id: int,
    athlete_id: int,
    field: str,
    old: Any,
    new: Any,
    cause: str,
    now: datetime,
) -> None:
    """Log the change of one field."""
    change = {
        "id": uuid7(int(now.timestamp() * 1000)),
        "activity_id": activity_id,
        "athlete_id": athlete_id,
        "field": field,
        "old_value": msgspec.json.encode(old).decode(),
        "new_value": msgspec.json.encode(new).decode(),
        "changed_at": now,
        "cause": cause,
    }
    connection.execute(_INSERT, change)
