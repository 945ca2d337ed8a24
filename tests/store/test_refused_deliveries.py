"""A delivery that was answered 503 is stored later; else the comparison of its athlete is brought forward."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from store_makers import OTHER, OWNER, detail, event

from feedzone.domain.effect import PurgeAthlete, StoreReconciliation
from feedzone.errors import StorageUnavailable
from feedzone.ingest import inbox as inbox_module
from feedzone.ingest import spool as spool_module
from feedzone.ingest.inbox import Inbox
from feedzone.ingest.spool import FOLDER, Spool
from feedzone.store import athletes
from feedzone.store.schema.tables import reconciliations, strava_athletes, webhook_events
from feedzone.worker.wakeup import LocalWakeup

UPDATE = {"aspect_type": "update", "updates": {"title": "Canary"}}


class Faulty:
    """The database, which tests switch off."""

    def __init__(self, database) -> None:
        self._database = database
        self.problem: Exception | None = None

    def __getattr__(self, name):
        return getattr(self._database, name)

    async def write(self, body, **options):
        if self.problem is not None:
            raise self.problem
        return await self._database.write(body, **options)


class Now:
    """The test's clock, whose sleeps take no time."""

    def __init__(self, clock) -> None:
        self.now = clock.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


@pytest.fixture
def faulty(store) -> Faulty:
    return Faulty(store.database)


@pytest.fixture
async def inbox(faulty, clock, tmp_path):
    inbox = Inbox(faulty, Now(clock), LocalWakeup(), Spool(tmp_path))
    await inbox.start()
    yield inbox
    await inbox.close()


async def refuse(inbox, *events):
    for each in events:
        with pytest.raises(StorageUnavailable):
            await inbox.accept(each, "absent")


async def until_quiet(inbox):
    async with asyncio.timeout(20):
        while inbox._replayer is not None:
            await asyncio.sleep(0.005)


async def test_refused_deliveries_are_stored_once_when_the_database_is_back(store, faulty, inbox, tmp_path):
    faulty.problem = StorageUnavailable("away")
    await refuse(inbox, event(), event(object_id=5), event())
    assert inbox.spool.refusals().events == 2
    faulty.problem = None
    receipt = await inbox.accept(event(), "absent")  # Strava delivers it again meanwhile
    assert receipt.verdict == "accepted"
    await until_quiet(inbox)
    assert sorted(row.object_id for row in await store.rows(webhook_events)) == sorted({event().object_id, 5})
    assert inbox.spool.refusals() is None
    assert all(not path.read_bytes().strip(b"\0") for path in (tmp_path / FOLDER).iterdir())


async def test_a_restart_replays_them_and_compares_all_athletes(store, faulty, inbox, clock, tmp_path):
    faulty.problem = StorageUnavailable("away")
    await refuse(inbox, event())
    await inbox.close()
    faulty.problem = None
    later = Inbox(faulty, Now(clock), LocalWakeup(), Spool(tmp_path))
    await later.start()
    await until_quiet(later)
    assert len(await store.rows(webhook_events)) == 1
    assert (await store.read(athletes.lost_deliveries))[0] == 2
    await later.close()


async def test_events_that_do_not_fit_bring_the_comparison_of_their_athletes_forward(
    store, faulty, inbox, clock, monkeypatch
):
    monkeypatch.setattr(spool_module, "MOST_EVENTS", 1)
    faulty.problem = StorageUnavailable("away")
    await refuse(inbox, event(), event(object_id=5, owner_id=OTHER))
    faulty.problem = None
    await until_quiet(inbox)
    due = {row.id: row.reconcile_due_at for row in await store.rows(strava_athletes)}
    assert due[OTHER] == clock.now()
    assert due[OWNER] > clock.now()
    assert await store.read(athletes.lost_deliveries) == (1, clock.now())


async def test_after_the_comparison_nothing_is_lost_and_strava_is_not_blamed(store, clock):
    now = clock.now()
    await athletes.note_lost_deliveries(store.database, [OWNER], now)
    clock.advance(days=4000)
    await store.apply(StoreReconciliation(OWNER, True, (detail(),), (), latest=True))
    assert await store.read(athletes.lost_deliveries) == (0, None)
    assert (await store.row(reconciliations)).unannounced == 0


async def test_an_event_that_can_never_be_stored_does_not_hold_up_the_others(
    store, faulty, inbox, clock, monkeypatch
):
    replay = inbox_module.replay

    def poisoned(connection, deliveries, now):
        if any(each.event.object_id == 5 for each in deliveries):
            raise ValueError("a bug")
        return replay(connection, deliveries, now)

    monkeypatch.setattr(inbox_module, "replay", poisoned)
    faulty.problem = StorageUnavailable("away")
    await refuse(inbox, event(object_id=4), event(object_id=5), event(object_id=6))
    faulty.problem = None
    await until_quiet(inbox)
    assert sorted(row.object_id for row in await store.rows(webhook_events)) == [4, 6]
    assert (await store.read(athletes.lost_deliveries))[0] == 1


async def test_events_of_an_athlete_who_left_meanwhile_are_dropped(store, faulty, inbox):
    faulty.problem = StorageUnavailable("away")
    await refuse(inbox, event(**UPDATE), event(object_id=6, owner_id=OTHER))
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    faulty.problem = None
    await until_quiet(inbox)
    query = select(webhook_events.c.owner_id)
    assert set(await store.read(lambda c: c.execute(query).scalars().all())) == {OTHER}


async def test_a_full_backlog_is_kept_too(store, faulty, inbox, monkeypatch):
    monkeypatch.setattr(inbox_module, "BACKLOG", 0)
    await refuse(inbox, event())
    await until_quiet(inbox)
    assert len(await store.rows(webhook_events)) == 1
