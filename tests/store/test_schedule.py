"""Each athlete is reconciled in time, by one scheduler, and also after downtime."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from sqlalchemy import text
from store_makers import OTHER, OWNER, Store, connection_of, detail, fetched

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


class CountingWakeup:
    """A wakeup that counts its notifications."""

    def __init__(self) -> None:
        self.count = 0

    def notify(self) -> None:
        self.count += 1

    async def wait(self, timeout: float) -> bool:
        return False


def schedule(
    store: Store, *, seed: int = 1, wakeup: CountingWakeup | None = None, database=None
) -> ReconciliationSchedule:
    return ReconciliationSchedule(
        database or store.database, store.clock, wakeup or CountingWakeup(), random.Random(seed), days=30
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


async def run_jobs(store: Store, runs: list, begin) -> None:
    """Run every due reconciliation; none finds a difference."""
    for job in await store.lease(limit=99):
        assert (job.kind, job.lane, job.hint.days) == ("reconcile_athlete", Lane.RECONCILE, 30)
        runs.append((store.clock.now() - begin, job.athlete_id, job.hint.full))
        await store.queue.finish(job, Done((StoreReconciliation(job.athlete_id, job.hint.full, (), ()),)))


async def pass_time(store: Store, span: timedelta, step: timedelta = MINUTE):
    """Return all reconciliations in that time: when, which athlete, and whether it was a full one."""
    runs, begin, scheduler = [], store.clock.now(), schedule(store)
    while store.clock.now() - begin < span:
        await scheduler.run()
        await run_jobs(store, runs, begin)
        store.clock.advance(seconds=step.total_seconds())
    return runs


def gaps(runs, athlete_id: int, *, full: bool | None = None) -> list[timedelta]:
    times = [when for when, athlete, is_full in runs if athlete == athlete_id and full in (None, is_full)]
    return [later - earlier for earlier, later in pairwise([timedelta(0), *times])]


async def due(store: Store, athlete_id: int):
    return (await store.row(strava_athletes, id=athlete_id)).reconcile_due_at


# With a push subscription


async def test_each_athlete_is_fully_reconciled_every_six_hours(webhook):
    runs = await pass_time(webhook, timedelta(days=2), 5 * MINUTE)
    assert all(full for *_, full in runs)
    for athlete_id in (OWNER, OTHER):
        pauses = gaps(runs, athlete_id)
        assert len(pauses) >= 7
        assert all(timedelta(hours=5) <= gap <= 6 * HOUR + 10 * MINUTE for gap in pauses)


async def test_the_first_reconciliation_of_a_day_and_a_late_one_read_to_the_end_of_the_list(webhook, clock):
    """The others trust a short page that shows exactly the stored activities."""
    to_end, scheduler = [], schedule(webhook)
    for hours in (6.1, 6, 6, 6, 9):  # from noon: six past 18:00, midnight, 06:00, noon, and nine hours later
        clock.advance(hours=hours)
        await scheduler.run()
        leased = await webhook.lease(limit=99)
        to_end.append({job.hint.to_end for job in leased})
        for job in leased:
            await webhook.queue.finish(job, Done((StoreReconciliation(job.athlete_id, True, (), ()),)))
    assert to_end == [{True}, {True}, {False}, {False}, {True}]


async def test_nothing_is_due_just_after_connecting(webhook, clock):
    """The backfill is listing everything at that time."""
    assert await schedule(webhook).run() == 0
    clock.advance(hours=5)
    await schedule(webhook).run()
    assert await webhook.rows(jobs) == []


async def test_a_failed_reconciliation_is_repeated_at_its_next_turn(webhook, clock):
    clock.advance(hours=6)
    assert await schedule(webhook).run() == 2
    for job in await webhook.lease():
        await webhook.queue.finish(job, Done())  # it did not reach its end: nothing was verified
    clock.advance(hours=6)
    assert await schedule(webhook).run() == 2


async def test_a_requested_reconciliation_delays_the_next_one(webhook, clock):
    clock.advance(hours=4)
    await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
    clock.advance(hours=2, minutes=1)
    await schedule(webhook).run()
    assert [row.athlete_id for row in await webhook.rows(jobs)] == [OTHER]


# More days than usual


async def plan(store: Store, athlete_id: int = OWNER) -> ReconcileHint | None:
    """Return the hint of the reconciliation that is due for the athlete now."""
    await schedule(store).run()
    hints = {job.athlete_id: job.hint for job in await store.lease(limit=99)}
    await store.write(lambda c: c.execute(jobs.delete()))
    return hints.get(athlete_id)


async def synced(store: Store, after) -> None:
    now = store.clock.now()
    await store.write(lambda c: athletes.begin_sync(c, OWNER, after, now))
    await store.apply(FinishListing(OWNER))


async def test_after_a_long_absence_a_reconciliation_begins_at_the_last_one(webhook, clock):
    """An outage of 40 days, while the usual days are 30."""
    await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
    seen = clock.now()
    clock.advance(days=40)
    since = int((seen - 24 * HOUR).timestamp())
    assert await plan(webhook) == ReconcileHint(days=30, since=since, everything=True)
    await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
    clock.advance(hours=6)
    assert (await plan(webhook)).since is None


async def test_the_first_reconciliation_after_a_long_absence_begins_where_the_backfill_did(webhook, clock):
    began = clock.now()
    await synced(webhook, began - timedelta(days=30))
    clock.advance(days=40)
    # Meanwhile the day has passed on which all synced activities are reconciled.
    assert (await plan(webhook)).since == int((began - timedelta(days=30)).timestamp())


@pytest.mark.parametrize("since", [timedelta(days=400), None], ids=["400 days", "all"])
async def test_all_synced_activities_are_reconciled_once_in_28_days(webhook, clock, since):
    """The other reconciliations cost as much as before."""
    begins = None if since is None else clock.now() - since
    await synced(webhook, begins)
    longer = []
    for half_day in range(56 * 2):
        clock.advance(hours=12)
        hint = await plan(webhook)
        await webhook.apply(StoreReconciliation(OWNER, True, (), ()))
        if hint is not None and hint.since is not None:
            longer.append((half_day, hint.since))
    assert [since for _, since in longer] == [int(begins.timestamp()) if begins else 0] * 2
    assert 27 * 2 < longer[1][0] - longer[0][0] < 29 * 2


async def test_a_longer_reconciliation_is_neither_shortened_while_it_waits_nor_restarted(polling, clock):
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


# Without a push subscription


async def test_without_a_subscription_active_athletes_are_polled_each_quarter_of_an_hour_and_others_each_hour(
    polling,
):
    runs = await pass_time(polling, timedelta(hours=5))
    active, quiet = gaps(runs, OWNER)[1:], gaps(runs, OTHER)[1:]
    assert all(13 * MINUTE <= gap <= 16 * MINUTE for gap in active)
    assert all(53 * MINUTE <= gap <= 61 * MINUTE for gap in quiet)
    assert (len(active) >= 17, len(quiet) >= 3) == (True, True)
    assert not any(full for *_, full in runs)  # one call each


async def test_without_a_subscription_a_full_reconciliation_still_runs_every_six_hours(polling):
    """A quick poll cannot see deletions."""
    runs = await pass_time(polling, timedelta(days=1), 5 * MINUTE)
    for athlete_id, slack in ((OWNER, timedelta(minutes=30)), (OTHER, timedelta(minutes=75))):
        full = gaps(runs, athlete_id, full=True)
        assert len(full) >= 3
        assert all(5 * HOUR <= gap <= 6 * HOUR + slack for gap in full)


async def test_an_athlete_who_becomes_active_is_polled_more_often_from_the_next_poll_on(polling, clock):
    clock.advance(minutes=15)
    await schedule(polling).run()
    assert await due(polling, OTHER) - clock.now() > 50 * MINUTE
    await polling.apply(fetched(detail(2, OTHER, start_date=clock.now())))
    clock.advance(hours=1)
    await schedule(polling).run()
    assert await due(polling, OTHER) - clock.now() <= 15 * MINUTE


async def test_a_waiting_full_reconciliation_stays_a_full_one(polling, clock):
    """It was requested while the budget was spent: a quick poll that falls due must not replace it."""
    clock.advance(minutes=20)
    await polling.enqueue(reconciliation_job(OWNER, 30))
    await schedule(polling).run()
    hints = {job.athlete_id: job.hint for job in await polling.lease()}
    assert hints == {OWNER: ReconcileHint(days=30), OTHER: ReconcileHint(days=30, full=False)}


async def test_a_lost_subscription_turns_polling_on(webhook, clock):
    await webhook.write(subscriptions.forget)
    runs = await pass_time(webhook, timedelta(hours=3))
    assert {athlete for _, athlete, full in runs if not full} == {OWNER, OTHER}


# Which athletes, and which process


async def end_access(store: Store, athlete_id: int, status: str) -> None:
    if status == "deauthorized":
        await store.apply(PurgeAthlete(athlete_id, "disconnected", "request", "the operator"))
    else:
        await store.apply(MarkAthlete(athlete_id, status, "401"))


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope", "deauthorized"])
async def test_an_athlete_without_access_is_not_reconciled(either, clock, status):
    await end_access(either, OWNER, status)
    clock.advance(days=3)
    await schedule(either).run()
    assert [row.athlete_id for row in await either.rows(jobs)] == [OTHER]


async def test_an_athlete_who_connects_again_is_reconciled_again(webhook, clock):
    await end_access(webhook, OWNER, "deauthorized")
    clock.advance(days=1)
    await webhook.connect(OWNER)
    clock.advance(hours=6, minutes=1)
    await schedule(webhook).run()
    assert {row.athlete_id for row in await webhook.rows(jobs)} == {OWNER, OTHER}


async def test_after_downtime_each_athlete_is_reconciled_at_once_and_once(either, clock):
    """After an outage of days, one reconciliation each, not one for each missed turn."""
    wakeup, runs = CountingWakeup(), []
    clock.advance(days=3)
    assert await schedule(either, wakeup=wakeup).run() == 2
    assert wakeup.count == 1
    await run_jobs(either, runs, clock.now())
    assert sorted(runs) == [(timedelta(0), OWNER, True), (timedelta(0), OTHER, True)]
    assert await schedule(either).run() == 0
    assert min(await due(either, OWNER), await due(either, OTHER)) > clock.now()


async def test_without_a_due_reconciliation_no_worker_is_woken(store):
    wakeup = CountingWakeup()
    assert await schedule(store, wakeup=wakeup).run() == 0
    assert wakeup.count == 0


async def test_concurrent_schedulers_enqueue_each_reconciliation_once(webhook, clock):
    clock.advance(hours=6)
    counts = await asyncio.gather(*(schedule(webhook, seed=n).run() for n in range(4)))
    assert sum(counts) == 2
    assert [(row.version, row.athlete_id) for row in await webhook.rows(jobs)] in (
        [(1, OWNER), (1, OTHER)],
        [(1, OTHER), (1, OWNER)],
    )


async def test_two_processes_enqueue_each_reconciliation_once(postgres_store, second_postgres, clock):
    clock.advance(hours=6)
    here = [schedule(postgres_store, seed=n) for n in range(3)]
    there = [schedule(postgres_store, seed=n, database=second_postgres) for n in range(3)]
    counts = await asyncio.gather(*(scheduler.run() for scheduler in (*here, *there)))
    assert sum(counts) == 2
    assert {row.version for row in await postgres_store.rows(jobs)} == {1}


async def test_a_scheduler_and_an_ending_reconciliation_do_not_deadlock(
    postgres_store, second_postgres, clock
):
    """Both lock jobs before athletes (lifecycle.lock). Otherwise PostgreSQL would cancel one of the two."""
    await postgres_store.enqueue(reconciliation_job(OWNER, 30))
    clock.advance(hours=6)
    ends, tries = clock.now(), []
    scheduler = schedule(postgres_store)
    enqueue = scheduler._enqueue
    scheduler._enqueue = lambda *arguments, **named: (tries.append(1), enqueue(*arguments, **named))[1]
    async with connection_of(second_postgres) as connection:
        await connection.run_sync(lambda c: c.execute(jobs.update().values(updated_at=ends)))
        running = asyncio.ensure_future(scheduler.run())
        while not running.done() and not await postgres_store.read(lambda c: c.execute(WAITING).scalar()):
            await asyncio.sleep(0.005)
        await connection.run_sync(lambda c: athletes.note_verified(c, OWNER, ends, everything=True))
        await connection.commit()
    await running
    assert len(tries) == 1


async def connect_many(store: Store, count: int) -> None:
    now = store.clock.now()

    def connect(connection) -> None:
        for number in range(count):
            profile = AthleteProfile(number + 1, None, "A", "B")
            athletes.connect(connection, profile, "read,activity:read", "active", None, now)

    await store.write(connect)


async def test_athletes_who_fall_due_together_are_spread_out_afterwards(store, clock):
    """A thousand athletes that one import connected must not spend the quota at one instant."""
    await connect_many(store, 30)
    clock.advance(days=1)
    assert await schedule(store).run() == 32
    assert len({row.reconcile_due_at for row in await store.rows(strava_athletes)}) > 16


async def test_all_due_athletes_are_enqueued_in_batches(webhook, clock):
    """A hundred thousand athletes are 140 every 30 s (worker/scheduler.py)."""
    await connect_many(webhook, BATCH * 2 + 7)
    clock.advance(days=1)
    await schedule(webhook).run()
    assert len(await webhook.rows(jobs)) == BATCH * 2 + 9
