"""Answer the questions that handlers ask before they decide (ports.HandlerReads)."""

from __future__ import annotations

from datetime import datetime

from ..domain.activity import StoredActivity
from ..domain.athlete import Access
from ..domain.fruitless import FruitlessCalls
from ..domain.photos import StoredPhotos
from ..ports import KnownActivity
from . import activities, athlete_activities, athletes, fruitless, photos
from .engine.database import Connection, Database


class SqlHandlerReads:
    """Reads for handlers, from the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stored_activity(self, activity_id: int) -> StoredActivity | None:
        return await self._database.read(lambda c: activities.load(c, activity_id))

    async def known_activity(self, athlete_id: int, activity_id: int, *, unproven: bool) -> KnownActivity:
        def body(connection: Connection) -> KnownActivity:
            sports = athletes.wanted_sports(connection, athlete_id)
            stored = activities.load(connection, activity_id)
            return KnownActivity(sports, stored, fruitless.load(connection, athlete_id) if unproven else None)

        return await self._database.read(body)

    async def fruitless_calls(self, athlete_id: int) -> FruitlessCalls:
        return await self._database.read(lambda c: fruitless.load(c, athlete_id))

    async def access(self, athlete_id: int) -> Access | None:
        row = await self._database.read(lambda c: athletes.get(c, athlete_id))
        if row is None:
            return None
        uncertain = row.refresh_uncertain_at is not None
        return Access(row.status, row.connected_at, row.refused_at, uncertain)

    async def wanted_sports(self, athlete_id: int) -> frozenset[str] | None:
        return await self._database.read(lambda c: athletes.wanted_sports(c, athlete_id))

    async def stored_photos(self, activity_id: int) -> StoredPhotos | None:
        return await self._database.read(lambda c: photos.load(c, activity_id))

    async def stored_between(self, athlete_id: int, after: datetime, before: datetime) -> list[int]:
        return await self._database.read(
            lambda c: athlete_activities.stored_between(c, athlete_id, after, before)
        )

    async def stored_outside(self, athlete_id: int, fetched_before: datetime, most: int) -> list[int]:
        return await self._database.read(
            lambda c: athlete_activities.stored_outside(c, athlete_id, fetched_before, most)
        )

    async def stored_count(self, athlete_id: int) -> int:
        return await self._database.read(lambda c: athlete_activities.stored_count(c, athlete_id))

    async def found_deleted(self, athlete_id: int, since: datetime) -> int:
        return await self._database.read(lambda c: athlete_activities.found_deleted(c, athlete_id, since))
