"""When an athlete is compared with Strava: often enough, by one scheduler, and also after downtime."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from sqlalchemy import text
from store_makers import OTHER, OWNER, Store, detail, fetched

from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import FinishListing, MarkAthlete, PurgeAthlete, StoreReconciliation
from feedzone.domain.job import Lane, ReconcileHint
from feedzone.domain.outcome import Done
from feedzone.domain.reconciliation import reconciliation_job
from feedzone.store import athletes, subscriptions
from feedzone.store.jobs.schedule import BATCH, ReconciliationSchedule
from feedzone.store.schema.tables import jobs, strava_athletes

HOUR = timedelta(hours=1)
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
MINUTE = timedelta(minutes=1)


class Bell:
    """A wakeup that counts how often it was rung."""

    def __init__(self) -> None:
        self.rung = 0

    def notify(self) -> None:
        self.rung += 1

    async def wait(self, timeout: float) -> bool:
        return False


def schedule(
    store: Store, *, seed: int = 1, bell: Bell | None = None, database=None
) -> ReconciliationSchedule:
    return ReconciliationSchedule(
        database or store.database, store.clock, bell or Bell(), random.Random(seed), days=30
    )


async def subscribe(store: Store) -> Store:
    now = store.clock.now()
    await store.write(lambda c: subscriptions.remember(c, 120475, "https://x.test/hook", now))
    return store


@pytest.fixture
async def webhook(store) -> Store:
    """Two athletes just connected, and a push subscription."""
    return await subscribe(store)


@pytest.fixture
async def polling(store) -> Store:
    """Two athletes just connected, and no push subscription; one of them has been active lately."""
    await store.apply(fetched(detail(1, start_date=store.clock.now() - timedelta(days=2))))
    return store


@pytest.fixture(params=["webhook", "polling"])
async def either(request, store) -> Store:
    """Two athletes just connected, in each mode."""
    return await subscribe(store) if request.param == "webhook" else store


async def work(store: Store, made: list, begin) -> None:
    """Every comparison that is due is done, and found nothing."""
    for job in await store.lease(limit=99):
        assert (job.kind, job.lane, job.hint.days) == ("reconcile_athlete", Lane.RECONCILE, 30)
        made.append((store.clock.now() - begin, job.athlete_id, job.hint.full))
        await store.queue.finish(job, Done((StoreReconciliation(job.athlete_id, job.hint.full, (), ()),)))


async def live_through(store: Store, span: timedelta, step: timedelta = MINUTE):
    """All comparisons in that time: when, of whom, and whether in full."""
    made, begin, planned = [], store.clock.now(), schedule(store)
    while store.clock.now() - begin < span:
        await planned.run()
        await work(store, made, begin)
        store.clock.advance(seconds=step.total_seconds())
    return made


def gaps(made, athlete_id: int, *, full: bool | None = None) -> list[timedelta]:
    times = [when for when, who, whole in made if who == athlete_id and full in (None, whole)]
    return [later - earlier for earlier, later in pairwise([timedelta(0), *times])]


async def due(store: Store, athlete_id: int):
    return (await store.row(strava_athletes, id=athlete_id)).reconcile_due_at


# With a push subscription


async def test_all_of_the_window_is_compared_every_six_hours(webhook):
    """Pain 14, trap 17."""
    made = await live_through(webhook, timedelta(days=2), 5 * MINUTE)
    assert all(full for *_, full in made)
    for athlete_id in (OWNER, OTHER):
        found = gaps(made, athlete_id)
        assert len(found) >= 7
        assert all(timedelta(hours=5) <= gap <= 6 * HOUR + 10 * MINUTE for gap in found)


async def test_the_first_comparison_of_a_day_and_one_that_comes_late_look_for_the_lists_end(webhook, clock):
    """Pain 51: the others believe a short page that shows just what we hold."""
    to_end, planned = [], schedule(webhook)
    for hours in (6.1, 6, 6, 6, 9):  # from noon: six past 18:00, midnight, 06:00, noon, and nine hours later
        clock.advance(hours=hours)
        await planned.run()
        found = await webhook.lease(limit=99)
        to_end.append({job.hint.to_end for job in found})
        for job in found:
            await webhook.queue.finish(job, Done((StoreReconciliation(job.athlete_id, True, (), ()),)))
    assert to_end == [{True}, {True}, {False}, {False}, {True}]


async def test_nothing_is_due_just_after_connecting(webhook, clock):
    """The first sync is just listing everything."""
    assert await schedule(webhook).run() == 0
    clock.advance(hours=5)
    await schedule(webhook).run()
    assert await webhook.rows(jobs) == []


async def test_a_comparison_that_failed_is_made_again_at_its_next_turn(webhook, clock):
    clock.advance(hours=6)
    assert await schedule(webhook).run() == 2
    for job in await webhook.lease():
        await webhook.queue.finish(job, Done())  # it did not come to an end: nothing was verified
    clock.advance(hours=6)
    assert await schedule(webhook).run() == 2


async def test_a_comparison_by_hand_puts_the_next_one_off(webhook, clock):
    clock.advance(hours=4)
    await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
    clock.advance(hours=2, minutes=1)
    await schedule(webhook).run()
    assert [row.athlete_id for row in await webhook.rows(jobs)] == [OTHER]


# Further back


async def plan(store: Store, athlete_id: int = OWNER) -> ReconcileHint | None:
    """What is planned of the athlete's activities now."""
    await schedule(store).run()
    hints = {job.athlete_id: job.hint for job in await store.lease(limit=99)}
    await store.write(lambda c: c.execute(jobs.delete()))
    return hints.get(athlete_id)


async def synced(store: Store, after) -> None:
    now = store.clock.now()
    await store.write(lambda c: athletes.begin_sync(c, OWNER, after, now))
    await store.apply(FinishListing(OWNER))


async def test_who_was_not_looked_at_for_long_is_compared_from_then_on(webhook, clock):
    """Pains 14 and 40: an outage of 40 days, and the days are 30."""
    await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
    seen = clock.now()
    clock.advance(days=40)
    assert await plan(webhook) == ReconcileHint(days=30, since=int((seen - 24 * HOUR).timestamp()))
    await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
    clock.advance(hours=6)
    assert (await plan(webhook)).since is None


async def test_who_was_listed_and_never_compared_is_compared_from_then_on(webhook, clock):
    began = clock.now()
    await synced(webhook, began - timedelta(days=30))
    clock.advance(days=40)
    # Meanwhile the day has passed on which all that we hold is compared.
    assert (await plan(webhook)).since == int((began - timedelta(days=30)).timestamp())


@pytest.mark.parametrize("since", [timedelta(days=400), None], ids=["400 days", "all"])
async def test_all_that_we_hold_is_compared_once_in_28_days(webhook, clock, since):
    """Pain 52; the other comparisons cost what they always did."""
    begins = None if since is None else clock.now() - since
    await synced(webhook, begins)
    found = []
    for quarter in range(56 * 4):
        clock.advance(hours=6)
        hint = await plan(webhook)
        await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
        if hint is not None and hint.since is not None:
            found.append((quarter, hint.since))
    assert [since for _, since in found] == [int(begins.timestamp()) if begins else 0] * 2
    assert 27 * 4 < found[1][0] - found[0][0] < 29 * 4


async def test_what_reaches_further_back_is_not_narrowed_while_it_waits_nor_begun_anew(polling, clock):
    clock.advance(hours=6)
    long, under_way = (
        reconciliation_job(OWNER, 30, since=clock.now() - timedelta(days=90)),
        ReconcileHint(30, since=0, before=9),
    )
    await polling.enqueue(long)
    await schedule(polling).run()
    assert (await polling.lease(limit=99))[0].hint == long.hint
    await polling.write(lambda c: c.execute(jobs.delete()))
    await polling.enqueue(msgspec.structs.replace(long, hint=under_way))
    clock.advance(hours=6)
    await schedule(polling).run()
    assert {job.hint for job in await polling.lease(limit=99) if job.athlete_id == OWNER} == {under_way}


# Without


async def test_without_a_subscription_the_active_are_polled_each_quarter_and_the_quiet_each_hour(polling):
    """Pain 9."""
    made = await live_through(polling, timedelta(hours=5))
    active, quiet = gaps(made, OWNER)[1:], gaps(made, OTHER)[1:]
    assert all(13 * MINUTE <= gap <= 16 * MINUTE for gap in active)
    assert all(53 * MINUTE <= gap <= 61 * MINUTE for gap in quiet)
    assert (len(active) >= 17, len(quiet) >= 3) == (True, True)
    assert not any(full for *_, full in made)  # one call each


async def test_without_a_subscription_deletions_are_still_looked_for_every_six_hours(polling):
    """Pain 52: a quick poll cannot see that something is gone."""
    made = await live_through(polling, timedelta(days=1), 5 * MINUTE)
    for athlete_id, slack in ((OWNER, timedelta(minutes=30)), (OTHER, timedelta(minutes=75))):
        full = gaps(made, athlete_id, full=True)
        assert len(full) >= 3
        assert all(5 * HOUR <= gap <= 6 * HOUR + slack for gap in full)


async def test_who_becomes_active_is_polled_more_often_from_the_next_poll_on(polling, clock):
    clock.advance(minutes=15)
    await schedule(polling).run()
    assert await due(polling, OTHER) - clock.now() > 50 * MINUTE
    await polling.apply(fetched(detail(2, OTHER, start_date=clock.now())))
    clock.advance(hours=1)
    await schedule(polling).run()
    assert await due(polling, OTHER) - clock.now() <= 15 * MINUTE


async def test_a_full_comparison_that_waits_for_its_turn_stays_a_full_one(polling, clock):
    """Asked for by hand while quota is short: a quick poll that falls due must not stand in for it."""
    clock.advance(minutes=20)
    await polling.enqueue(reconciliation_job(OWNER, 30))
    await schedule(polling).run()
    hints = {job.athlete_id: job.hint for job in await polling.lease()}
    assert hints == {OWNER: ReconcileHint(days=30), OTHER: ReconcileHint(days=30, full=False)}


async def test_a_subscription_that_is_lost_turns_polling_on(webhook, clock):
    """Pain 5."""
    await webhook.write(subscriptions.forget)
    made = await live_through(webhook, timedelta(hours=3))
    assert {who for _, who, full in made if not full} == {OWNER, OTHER}


# Who, and by whom


async def gone(store: Store, athlete_id: int, status: str) -> None:
    if status == "deauthorized":
        await store.apply(PurgeAthlete(athlete_id, "disconnected", "request", "the operator"))
    else:
        await store.apply(MarkAthlete(athlete_id, status, "401"))


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope", "deauthorized"])
async def test_who_cannot_be_read_is_not_compared(either, clock, status):
    await gone(either, OWNER, status)
    clock.advance(days=3)
    await schedule(either).run()
    assert [row.athlete_id for row in await either.rows(jobs)] == [OTHER]


async def test_who_connects_again_is_compared_again(webhook, clock):
    await gone(webhook, OWNER, "deauthorized")
    clock.advance(days=1)
    await webhook.connect(OWNER)
    clock.advance(hours=6, minutes=1)
    await schedule(webhook).run()
    assert {row.athlete_id for row in await webhook.rows(jobs)} == {OWNER, OTHER}


async def test_what_fell_due_while_nothing_ran_is_done_at_once_and_once(either, clock):
    """Pain 14: after an outage of days, one comparison each, not one for each that was missed."""
    bell, made = Bell(), []
    clock.advance(days=3)
    assert await schedule(either, bell=bell).run() == 2
    assert bell.rung == 1
    await work(either, made, clock.now())
    assert sorted(made) == [(timedelta(0), OWNER, True), (timedelta(0), OTHER, True)]
    assert await schedule(either).run() == 0
    assert min(await due(either, OWNER), await due(either, OTHER)) > clock.now()


async def test_without_anything_due_nobody_is_woken(store):
    bell = Bell()
    assert await schedule(store, bell=bell).run() == 0
    assert bell.rung == 0


async def test_two_schedulers_do_not_do_it_twice(webhook, clock):
    clock.advance(hours=6)
    counts = await asyncio.gather(*(schedule(webhook, seed=n).run() for n in range(4)))
    assert sum(counts) == 2
    assert [(row.version, row.athlete_id) for row in await webhook.rows(jobs)] in (
        [(1, OWNER), (1, OTHER)],
        [(1, OTHER), (1, OWNER)],
    )


async def test_two_processes_do_not_do_it_twice(postgres_store, second_postgres, clock):
    clock.advance(hours=6)
    ours = [schedule(postgres_store, seed=n) for n in range(3)]
    theirs = [schedule(postgres_store, seed=n, database=second_postgres) for n in range(3)]
    counts = await asyncio.gather(*(one.run() for one in (*ours, *theirs)))
    assert sum(counts) == 2
    assert {row.version for row in await postgres_store.rows(jobs)} == {1}


async def test_a_scheduler_and_a_comparison_that_ends_do_not_lock_each_other_out(
    postgres_store, second_postgres, clock
):
    """Jobs are locked before athletes by all (store/jobs.py): else one of the two waits for PostgreSQL to
    find out and is thrown back."""
    await postgres_store.enqueue(reconciliation_job(OWNER, 30))
    clock.advance(hours=6)
    ends, tries = clock.now(), []
    planned = schedule(postgres_store)
    enqueue = planned._enqueue
    planned._enqueue = lambda *given, **named: (tries.append(1), enqueue(*given, **named))[1]
    async with second_postgres._engine.connect() as theirs:
        await theirs.run_sync(lambda c: c.execute(jobs.update().values(updated_at=ends)))
        running = asyncio.ensure_future(planned.run())
        while not running.done() and not await postgres_store.read(lambda c: c.execute(WAITING).scalar()):
            await asyncio.sleep(0.005)
        await theirs.run_sync(lambda c: athletes.note_verified(c, OWNER, ends))
        await theirs.commit()
    await running
    assert len(tries) == 1


async def crowd(store: Store, count: int) -> None:
    now = store.clock.now()

    def connect(connection) -> None:
        for number in range(count):
            profile = AthleteProfile(number + 1, None, "A", "B")
            athletes.connect(connection, profile, "read,activity:read", "active", None, now)

    await store.write(connect)


async def test_who_fell_due_together_does_not_do_so_for_ever(store, clock):
    """A thousand athletes that were imported together must not ask for all of the quota at one instant."""
    await crowd(store, 30)
    clock.advance(days=1)
    assert await schedule(store).run() == 32
    assert len({row.reconcile_due_at for row in await store.rows(strava_athletes)}) > 16


async def test_all_who_are_due_are_enqueued_however_many_they_are(webhook, clock):
    """A hundred thousand athletes are 140 every 30 s (worker/scheduler.py)."""
    await crowd(webhook, BATCH * 2 + 7)
    clock.advance(days=1)
    await schedule(webhook).run()
    assert len(await webhook.rows(jobs)) == BATCH * 2 + 9
