"""Work on many rows that one transaction begins and others finish, also after a crash in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, Connection, select, update

from ...domain.athlete import parse_sports
from ...domain.job import backfill_job
from ...ports import Clock, Wakeup
from .. import activities, athlete_activities
from ..batches import change_in_batches
from ..engine.database import Database
from ..quota import breaker, windows
from ..schema.tables import strava_activities, strava_athletes
from . import lifecycle

_columns = strava_athletes.c
_CHANGED = (
    select(_columns.id).where(_columns.sports_changed_at.is_not(None)).order_by(_columns.sports_changed_at)
)


class UnfinishedSchedule:
    """Lets the jobs run that waited for a limit which was raised, and fetches newly chosen sports."""

    def __init__(self, database: Database, clock: Clock, wakeup: Wakeup) -> None:
        self._database = database
        self._clock = clock
        self._wakeup = wakeup

    async def run(self) -> int:
        """Do all that is left to do; return how many jobs are due."""
        now = self._clock.now()
        count = await resume_after_raise(self._database, now)
        for athlete_id in await self._database.read(lambda c: c.execute(_CHANGED).scalars().all()):
            count += await fetch_chosen(self._database, athlete_id, now)
        if count:
            self._wakeup.notify()
        return count


async def resume_after_raise(database: Database, now: datetime) -> int:
    """Make the jobs due that wait for a rate limit, if it was raised meanwhile; return how many."""
    raises = await database.read(windows.raises)
    if not raises:
        return 0
    count = await breaker.resume_paused(database, now, ("quota",))
    await database.write(lambda c: windows.end_raises(c, raises))
    return count


async def fetch_chosen(database: Database, athlete_id: int, now: datetime) -> int:
    """Enqueue the details of the sports that an athlete has chosen last; return how many jobs."""
    row = await database.read(
        lambda c: c.execute(
            select(_columns.wanted_sports, _columns.sports_changed_at).where(_columns.id == athlete_id)
        ).first()
    )
    if row is None or row.sports_changed_at is None:
        return 0
    summaries = athlete_activities.are_summaries(athlete_id, parse_sports(row.wanted_sports))
    fetch = partial(_fetch, athlete_id=athlete_id, which=summaries, now=now)
    count = await change_in_batches(database, strava_activities, summaries, fetch)
    # Not if the athlete has chosen others meanwhile.
    done = update(strava_athletes).where(
        _columns.id == athlete_id, _columns.sports_changed_at == row.sports_changed_at
    )
    await database.write(lambda c: c.execute(done.values(sports_changed_at=None)))
    return count


def _fetch(
    connection: Connection, ids: Sequence[int], athlete_id: int, which: ColumnElement[bool], now: datetime
) -> int:
    starts = athlete_activities.starts(connection, ids, which)
    lifecycle.enqueue(connection, [backfill_job(athlete_id, *each) for each in starts.items()], now)
    activities.mark_pending(connection, starts, now)
    return len(starts)
