"""Gear is stored as the profile lists it, and fetched once a day for athletes with the scope."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from itertools import pairwise

import pytest
from store_makers import OTHER, OWNER, Store, detail, fetched

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import MarkAthlete, PurgeAthlete, StoreGear
from feedzone.domain.gear import GearListing, GearRecord
from feedzone.domain.job import Lane
from feedzone.domain.outcome import Done
from feedzone.store import athletes, gear
from feedzone.store.jobs.schedule import BATCH, GearSchedule
from feedzone.store.schema.tables import jobs, strava_gear

ALL = "activity:read,activity:read_all,profile:read_all,read"


class Bell:
    """A wakeup that counts how often it was rung."""

    def __init__(self) -> None:
        self.rung = 0

    def notify(self) -> None:
        self.rung += 1

    async def wait(self, timeout: float) -> bool:
        return False


def item(number: int, name: str = "Slate", *, kind: str = "bike", **changes) -> GearRecord:
    letter = "b" if kind == "bike" else "g"
    members = {"is_primary": False, "retired": False, "distance": 1000.0 * number} | changes
    raw = f'{{"id":"{letter}{number}", "name":"{name}","more":{len(changes)}}}'
    return GearRecord(f"{letter}{number}", kind, name, None, raw=raw, **members)


def profile(*bikes: GearRecord, shoes=(), athlete_id: int = OWNER) -> StoreGear:
    return StoreGear(GearListing(athlete_id, bikes, shoes))


async def stored_gear(store: Store, athlete_id: int = OWNER):
    return {row.id: row for row in await store.read(lambda c: gear.listing(c, athlete_id))}


async def grant(store: Store, athlete_id: int, scopes: str = ALL) -> None:
    now = store.clock.now()
    profile = AthleteProfile(athlete_id, None, "Ada", "Lovelace")
    await store.write(lambda c: athletes.connect(c, profile, scopes, "active", None, now))


# Storing gear


async def test_an_unused_bike_is_stored(store, clock):
    await store.apply(fetched(detail(gear_id="b1")), profile(item(1), item(2, "Winter Hack"), shoes=()))
    rows = await stored_gear(store)
    assert list(rows) == ["b1", "b2"]
    unused = rows["b2"]
    assert (unused.athlete_id, unused.kind, unused.name, unused.distance) == (
        OWNER,
        "bike",
        "Winter Hack",
        2000.0,
    )
    assert (unused.is_primary, unused.retired, unused.removed_at) == (False, False, None)
    assert (unused.created_at, unused.updated_at) == (clock.now(), clock.now())
    assert unused.raw == item(2, "Winter Hack").raw


async def test_a_deleted_bike_is_marked_and_an_activity_does_not_restore_it(store, clock):
    await store.apply(profile(item(1), item(2)))
    clock.advance(days=1)
    await store.apply(profile(item(1)))
    gone_at = clock.now()
    await store.apply(fetched(detail(gear_id="b2")))
    clock.advance(days=1)
    await store.apply(profile(item(1)))
    rows = await stored_gear(store)
    assert (rows["b2"].removed_at, rows["b2"].updated_at, rows["b2"].name) == (gone_at, gone_at, "Slate")
    assert rows["b1"].removed_at is None


async def test_a_retired_bike_is_marked(store, clock):
    await store.apply(profile(item(1)))
    clock.advance(days=1)
    await store.apply(profile(item(1, retired=True)))
    row = (await stored_gear(store))["b1"]
    assert (row.retired, row.removed_at, row.updated_at) == (True, None, clock.now())
    assert row.created_at == clock.now() - timedelta(days=1)


async def test_unchanged_gear_is_not_written(store, clock):
    await store.apply(profile(item(1)))
    before = await stored_gear(store)
    clock.advance(days=1)
    await store.apply(profile(item(1)))
    assert await stored_gear(store) == before


async def test_gear_that_is_listed_again_is_no_longer_removed(store, clock):
    await store.apply(profile(item(1)), profile(), profile(item(1)))
    assert (await stored_gear(store))["b1"].removed_at is None


async def test_gear_stays_when_the_profile_has_no_list_of_its_kind(store):
    """A profile without profile:read_all has no lists."""
    await store.apply(profile(item(1), shoes=(item(2, kind="shoe"),)))
    before = await stored_gear(store)
    await store.apply(StoreGear(GearListing(OWNER, None, None)))
    assert await stored_gear(store) == before
    await store.apply(StoreGear(GearListing(OWNER, (), None)))
    rows = await stored_gear(store)
    assert (rows["b1"].removed_at is None, rows["g2"].removed_at) == (False, None)


async def test_the_same_id_of_two_athletes_is_two_rows(store):
    await store.apply(profile(item(1, "First")), profile(item(1, "Second"), athlete_id=OTHER), profile())
    assert (await stored_gear(store))["b1"].removed_at is not None
    assert (await stored_gear(store, OTHER))["b1"].name == "Second"
    assert (await stored_gear(store, OTHER))["b1"].removed_at is None


async def test_a_purge_deletes_the_gear(store):
    await store.apply(profile(item(1)), profile(item(1), athlete_id=OTHER))
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    assert [row.athlete_id for row in await store.rows(strava_gear)] == [OTHER]


# Scheduling


def schedule(store: Store, bell: Bell | None = None, *, seed: int = 1, database=None) -> GearSchedule:
    return GearSchedule(database or store.database, store.clock, bell or Bell(), random.Random(seed))


@pytest.fixture
async def readable(store) -> Store:
    """One of the two athletes lets us read the whole profile."""
    await grant(store, OWNER)
    return store


async def test_gear_is_fetched_soon_after_connecting_in_the_recheck_lane(readable):
    bell = Bell()
    assert await schedule(readable, bell).run() == 1
    assert bell.rung == 1
    (job,) = await readable.lease()
    assert (job.kind, job.athlete_id, job.lane) == ("refresh_gear", OWNER, Lane.RECHECK)


async def test_gear_is_fetched_once_a_day(readable, clock):
    planned, begin, times = schedule(readable), clock.now(), []
    while clock.now() - begin < timedelta(days=6):
        await planned.run()
        for job in await readable.lease(limit=99):
            times.append(clock.now())
            await readable.queue.finish(job, Done((profile(item(1)),)))
        clock.advance(minutes=10)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 5 <= len(gaps) <= 6
    assert all(timedelta(hours=21) <= gap <= timedelta(hours=24, minutes=10) for gap in gaps)
    assert len(set(gaps)) > 1  # athletes who connected together do not stay in step


async def test_a_fetch_without_a_result_is_repeated_after_a_day_and_not_before(readable, clock):
    await schedule(readable).run()
    await readable.run(Done(note="gear is left as it was: 404"))
    clock.advance(hours=20)
    assert await schedule(readable).run() == 0
    clock.advance(hours=4)
    assert await schedule(readable).run() == 1


async def test_gear_is_not_fetched_without_the_profile_scope(store, clock):
    clock.advance(days=3)
    bell = Bell()
    assert await schedule(store, bell).run() == 0
    assert bell.rung == 0


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope", "deauthorized"])
async def test_gear_is_not_fetched_without_an_active_connection(readable, clock, status):
    if status == "deauthorized":
        await readable.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    else:
        await readable.apply(MarkAthlete(OWNER, status, "401"))
    clock.advance(days=3)
    assert await schedule(readable).run() == 0


async def test_gear_is_fetched_at_once_after_connecting_again(readable, clock):
    await schedule(readable).run()
    await readable.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    clock.advance(hours=1)
    await grant(readable, OWNER)
    assert await schedule(readable).run() == 1


async def test_after_days_of_downtime_gear_is_fetched_once(readable, clock):
    await schedule(readable).run()
    await readable.run(Done())
    clock.advance(days=9)
    assert await schedule(readable).run() == 1
    assert await schedule(readable).run() == 0


async def test_two_processes_enqueue_one_job_per_athlete(postgres_store, second_postgres):
    await grant(postgres_store, OWNER)
    await grant(postgres_store, OTHER)
    local = [schedule(postgres_store, seed=n) for n in range(3)]
    remote = [schedule(postgres_store, seed=n, database=second_postgres) for n in range(3)]
    counts = await asyncio.gather(*(planner.run() for planner in (*local, *remote)))
    assert sum(counts) == 2
    assert {row.version for row in await postgres_store.rows(jobs)} == {1}


async def test_gear_of_more_athletes_than_a_batch_is_fetched(store, clock):
    for number in range(BATCH + 7):
        await grant(store, number + 1)
    assert await schedule(store).run() == BATCH + 7
