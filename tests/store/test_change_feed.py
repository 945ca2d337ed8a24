"""A reader that remembers the id of the last change misses none, whoever writes and however slowly."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from functools import partial

import pytest
from store_makers import ACTIVITY, OTHER, OWNER, detail, event, fetched
from test_races import during_uncommitted

from feedzone.domain.effect import PurgeAthlete, Tombstone
from feedzone.domain.outcome import Done
from feedzone.queries.activities import ActivityQueries
from feedzone.store import activities, effects
from feedzone.store.engine.database import open_database
from feedzone.store.engine.last_step import run_body
from feedzone.store.retention import Retention
from feedzone.store.schema.tables import activity_changes, strava_activities

LEFT = PurgeAthlete(OWNER, "disconnected", "request", "the operator")
GONE = Tombstone(ACTIVITY, OWNER, "event:x")


async def read_on(store, last=None, limit=50):
    """Return the changes after the one with the id `last`, page by page, as a client reads them."""
    page = await ActivityQueries(store.database).changes(last, limit=limit)
    items = list(page.items)
    while page.next_cursor is not None:
        page = await ActivityQueries(store.database).changes(cursor=page.next_cursor, limit=limit)
        items += page.items
    return items


def storing(now, *batch):
    return lambda connection: effects.apply(connection, batch, now)


@pytest.fixture
async def writers(database, request):
    """Eight more connections to the same database, as other processes have them."""
    file = f"sqlite:///{getattr(database, 'path', '')}"
    url = request.getfixturevalue("migrated_postgres") if database.shares_work else file
    opened = [open_database(url) for _ in range(8)]
    yield opened
    for each in opened:
        await each.close()


async def test_one_reader_misses_no_change_of_eight_writers_with_different_clocks(store, writers, clock):
    """Their clocks differ by ten seconds, and half of them wait for rows that others hold."""
    rides, rounds = [100 + number for number in range(6)], 12
    await store.apply(*(fetched(detail(number)) for number in rides))

    def rename(connection, *, ids, name, now):
        for number in ids:
            record = detail(number, name=f"{name} {number}")
            activities.store(connection, record, cause="recheck", received_at=None, status="synced", now=now)

    async def write(number, database):
        rng, now = random.Random(number), clock.now() + timedelta(seconds=2.5 * (number - 4))
        for turn in range(rounds):
            several = sorted(rng.sample(rides, 3 if number % 2 else 1))
            await database.write(partial(rename, ids=several, name=f"{number} {turn}", now=now))

    followed, last = [], None
    working = asyncio.gather(*(write(number, database) for number, database in enumerate(writers)))
    while not working.done():
        page = await ActivityQueries(store.database).changes(last, limit=7)
        followed += [change.id for change in page.items]
        last = followed[-1] if followed else None
        await asyncio.sleep(0)
    await working
    followed += [change.id for change in await read_on(store, last, limit=7)]
    assert followed == [row.id for row in await store.rows(activity_changes)]
    assert len(followed) == len(rides) + rounds * 4 * (3 + 1)


async def test_a_slower_clock_writes_no_earlier_id(store, writers, clock):
    """The command line beside `serve`, a second machine, and a process after a restart."""
    now = clock.now()
    await store.apply(fetched(detail()))
    ids = []
    for seconds, database in zip((5, 0, -5, -3600), writers, strict=False):
        then = now + timedelta(seconds=seconds)
        await database.write(storing(then, fetched(detail(name=f"at {seconds}"))))
        ids.append((await read_on(store))[-1].id)
    assert ids == sorted(set(ids))


async def test_a_writer_that_waits_for_a_row_is_not_missed(postgres_store, second_postgres, clock):
    store = postgres_store
    await store.apply(fetched(detail()), fetched(detail(2)))
    holding = strava_activities.update().where(strava_activities.c.id == ACTIVITY).values(sync_attempts=1)
    waiting = store.apply(fetched(detail(name="Waited")))
    async with during_uncommitted(store, second_postgres, lambda c: c.execute(holding), waiting):
        await store.apply(fetched(detail(2, name="Was first")))
        seen = await read_on(store)
        assert bytes(seen[-1].new_value) == b'"Was first"'
    (late,) = await read_on(store, seen[-1].id)
    assert bytes(late.new_value) == b'"Waited"'


async def test_no_id_is_visible_before_an_earlier_one(postgres_store, second_postgres, clock):
    """The other process has its ids and is about to commit: the next writer waits for that."""
    store, now = postgres_store, clock.now()
    await store.apply(fetched(detail()), fetched(detail(2)))
    (known, *_) = reversed(await read_on(store))

    def unfinished(connection):
        run_body(connection, storing(now, fetched(detail(name="Slow to commit"))))

    second = store.apply(fetched(detail(2, name="Second")))
    async with during_uncommitted(store, second_postgres, unfinished, second):
        assert await read_on(store, known.id) == []
    values = [bytes(change.new_value) for change in await read_on(store, known.id)]
    assert values == [b'"Slow to commit"', b'"Second"']


async def test_a_transaction_that_fails_leaves_nothing_behind(store, clock):
    await store.apply(fetched(detail()))
    before = await read_on(store)

    def failing(connection):
        storing(clock.now(), fetched(detail(name="Undone")))(connection)
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            await store.write(failing)
        await store.write(lambda c: None)
    assert await read_on(store) == before


async def test_ids_go_on_after_a_backup_was_restored(store, clock):
    """A reader knows ids that the restored database has not: they must not be used again."""
    await store.apply(fetched(detail()))
    clock.advance(seconds=60)
    await store.apply(fetched(detail(name="Lost with the disk")))
    (*_, known) = await read_on(store)
    await store.write(lambda c: c.exec_driver_sql("DELETE FROM change_feed"))
    clock.advance(seconds=1)
    await store.apply(fetched(detail(name="After the restore")))
    (change,) = await read_on(store, known.id)
    assert bytes(change.new_value) == b'"After the restore"'


def kinds(changes):
    return [(change.kind, change.activity_id, change.athlete_id) for change in changes]


async def test_the_feed_tells_new_changed_deleted_and_restored_activities_apart(store):
    await store.apply(fetched(detail()), fetched(detail(name="New name")), GONE)
    await store.apply(fetched(detail()))
    changes = [change.kind for change in await read_on(store)]
    assert changes == ["new", "deleted", "restored"]  # the value that changed has gone with the activity


async def test_the_feed_says_who_left_without_a_word_of_theirs(store):
    await store.apply(fetched(detail(name="Canary")), fetched(detail(name="Canary 2")), fetched(detail(5)))
    await store.apply(fetched(detail(7, OTHER)))
    seen = await read_on(store)
    await store.apply(GONE, LEFT)
    left = (await read_on(store, seen[-1].id))[-1]
    assert kinds([left]) == [("left", None, OWNER)]
    assert (bytes(left.old_value), bytes(left.new_value), left.cause) == (
        b'"active"',
        b'"deauthorized"',
        "request",
    )
    assert "Canary" not in repr(await store.rows(activity_changes))
    assert kinds(await read_on(store)) == [("new", 7, OTHER), ("left", None, OWNER)]


async def test_an_athlete_who_comes_back_and_leaves_again_left_twice(store):
    await store.apply(LEFT)
    (first,) = await read_on(store)
    await store.connect(OWNER)
    await store.apply(fetched(detail()))
    await store.apply(LEFT)
    assert kinds(await read_on(store, first.id)) == [("left", None, OWNER)]


async def test_what_was_never_stored_cannot_be_deleted(store):
    """A forged delete of an unknown activity leaves a tombstone. No reader of the feed knows it."""
    await store.deliver(event(aspect_type="delete"))
    await store.run(Done((GONE,)))
    assert await read_on(store) == []


@pytest.mark.parametrize(("days", "stay"), [(7, 90), (90, 90), (365, 365)])
async def test_departures_stay_in_the_feed_for_three_months_at_least(store, clock, days, stay):
    retention = Retention(store.database, clock, days)
    await store.apply(fetched(detail()), fetched(detail(5, OTHER)), fetched(detail(5, OTHER, name="New")))
    await store.apply(GONE, PurgeAthlete(OTHER, "disconnected", "request", "the operator"))
    await store.apply(fetched(detail(6)))
    departed = [("deleted", ACTIVITY, OWNER), ("left", None, OTHER)]
    clock.advance(days=days)
    await retention.prune()
    assert kinds(await read_on(store)) == [("new", ACTIVITY, OWNER), *departed, ("new", 6, OWNER)]
    clock.advance(seconds=1)
    await retention.prune()
    assert kinds(await read_on(store)) == (departed if days < stay else [])
    clock.advance(days=stay - days)
    await retention.prune()
    assert await read_on(store) == []


async def test_without_a_retention_time_departures_stay(store, clock):
    await store.apply(LEFT)
    clock.advance(days=3000)
    await Retention(store.database, clock, None).prune()
    assert kinds(await read_on(store)) == [("left", None, OWNER)]
