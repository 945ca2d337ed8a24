"""Answer the questions that handlers ask before they decide (ports.HandlerReads)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ..domain.activity import StoredActivity
from ..domain.athlete import Access
from ..domain.fruitless import FruitlessCalls
from ..domain.photos import StoredPhotos
from ..ports import KnownActivity
from . import activities, athlete_activities, athletes, fruitless, photos
from .engine.database import Connection, Database
from .engine.shared_commits import SharedCommits

AT_ONCE = 64
"""Questions that share a transaction, at most."""


class _Question(NamedTuple):
    """What a refresh asks before its first call."""

    athlete_id: int
    activity_id: int
    unproven: bool


class SqlHandlerReads:
    """Reads for handlers, from the database. Jobs that ask at the same time share a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stored = SharedCommits(self._load_stored, most=AT_ONCE, name="stored activities")
        self._known = SharedCommits(self._load_known, most=AT_ONCE, name="known activities")

    async def stored_activity(self, activity_id: int) -> StoredActivity | None:
        return await self._stored.submit(activity_id)

    async def _load_stored(self, ids: Sequence[int]) -> list[StoredActivity | None]:
        stored = await self._database.read(lambda c: activities.load_all(c, set(ids)))
        return [stored.get(activity_id) for activity_id in ids]

    async def known_activity(self, athlete_id: int, activity_id: int, *, unproven: bool) -> KnownActivity:
        return await self._known.submit(_Question(athlete_id, activity_id, unproven))

    async def _load_known(self, questions: Sequence[_Question]) -> list[KnownActivity]:
        def body(connection: Connection) -> list[KnownActivity]:
            sports = athletes.wanted_sports_of_all(connection, {each.athlete_id for each in questions})
            stored = activities.load_all(connection, {each.activity_id for each in questions})
            unproven = sorted({each.athlete_id for each in questions if each.unproven})
            spent = fruitless.load_all(connection, unproven)
            return [
                KnownActivity(
                    sports.get(each.athlete_id),
                    stored.get(each.activity_id),
                    spent[each.athlete_id] if each.unproven else None,
                )
                for each in questions
            ]

        return await self._database.read(body)

    async def fruitless_calls(self, athlete_id: int) -> FruitlessCalls:
        return await self._database.read(lambda c: fruitless.load(c, athlete_id))

    async def access(self, athlete_id: int) -> Access | None:
        row = await self._database.read(lambda c: athletes.get(c, athlete_id))
        if row is None:
            return None
        uncertain = row.refresh_uncertain_at is not None
        return Access(row.status, row.connected_at, row.refused_at, uncertain)

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
