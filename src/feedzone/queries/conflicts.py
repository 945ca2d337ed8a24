"""Conflicts: decisions that reconciliation leaves to a person."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from ..store import reconciliations
from ..store.engine.database import Database
from .paging import Cursor
from .rows import from_row


class Conflict(Struct, frozen=True):
    """Strava no longer lists `missing` of `held` activities, too many to delete without a decision."""

    id: str
    athlete_id: int
    kind: str
    opened_at: datetime
    missing: list[int]
    held: int


class ConflictPage(Struct, frozen=True):
    """Open conflicts, oldest first."""

    items: list[Conflict]
    next_cursor: Cursor | None = None


class ConflictQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> list[Conflict]:
        """Return open conflicts, oldest first."""
        rows = await self._database.read(reconciliations.open_conflicts)
        return [from_row(row, Conflict, **msgspec.json.decode(row.detail)) for row in rows]
