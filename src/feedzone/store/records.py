"""What handlers may ask before they decide (ports.Records)."""

from __future__ import annotations

from ..domain.activity import HeldActivity
from . import activities
from .database import Database


class RecordTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def held_activity(self, activity_id: int) -> HeldActivity | None:
        return await self._database.read(lambda c: activities.held(c, activity_id))
