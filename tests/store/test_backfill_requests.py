"""Requests during a backfill extend it, and no activity is missed after an absence."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from store_makers import OTHER, OWNER, Store, summary

from feedzone.domain.activity import LIST_AHEAD
from feedzone.domain.athlete import AthleteProfile
from feedzone.domain.effect import FinishListing, MarkAthlete, PurgeAthlete, StorePage, StoreReconciliation
from feedzone.domain.job import BackfillHint, Lane, ReconcileHint
from feedzone.domain.outcome import Continue, Discard, Done
from feedzone.services.athletes import AthleteService
from feedzone.services.reconciliation import ReconciliationService
from feedzone.store.jobs import deferral
from feedzone.store.schema.tables import jobs, strava_athletes

DAY = timedelta(days=1)


class FakeStrava:
    """Strava's side of a consent, and a wakeup that wakes nobody."""

    async def exchange(self, code: str) -> tuple[Any, AthleteProfile]:
        return None, AthleteProfile(OWNER, "ada", "Ada", "Lovelace")

    def save_exchanged(self, *_arguments: object) -> None: ...

    def notify(self) -> None: ...

    async def wait(self, timeout: float) -> bool:
        return False


def service(store: Store) -> AthleteService:
    strava: Any = FakeStrava()
    return AthleteService(store.database, store.clock, strava, strava, strava, "", 30)


async def connect(store: Store) -> None:
    await service(store).connect("code", "read,activity:read")


async def listing(store: Store) -> Any:
    (row,) = [row for row in await store.rows(jobs) if row.kind == "backfill_athlete"]
    return SimpleNamespace(hint=(await hint_of(store)), lane=Lane(row.priority), version=row.version)


async def hint_of(store: Store) -> BackfillHint:
    live_jobs = await store.read(lambda c: deferral.live(c, "backfill_athlete", [f"athlete:{OWNER}"]))
    hint = live_jobs[OWNER].hint
    assert isinstance(hint, BackfillHint)
    return hint


async def athlete(store: Store) -> Any:
    return await store.row(strava_athletes, id=OWNER)


def epoch(at: datetime) -> int:
    return int(at.timestamp())


async def page(store: Store, *ids: int) -> BackfillHint:
    """Store one more page of the list; return the hint for the rest."""
    job = next(job for job in await store.lease() if job.kind == "backfill_athlete")
    rest = BackfillHint(job.hint.before, job.hint.after, job.hint.page + 1)
    stored = StorePage(OWNER, tuple(summary(number) for number in ids), ())
    assert await store.queue.finish(job, Continue((stored,), rest, Lane.BACKFILL))
    return rest


# During a backfill


@pytest.mark.parametrize("again", ["days", "connect"])
async def test_a_request_for_fewer_days_does_not_disturb_a_longer_backfill(store, clock, again):
    """`sync --all`, and then `sync --days 1`, or the athlete connects again."""
    await service(store).sync(OWNER, everything=True)
    rest = await page(store, 1, 2)
    clock.advance(minutes=5)
    await (service(store).sync(OWNER, days=1) if again == "days" else connect(store))
    current, row = await listing(store), await athlete(store)
    assert (current.hint, current.lane) == (rest, Lane.INTERACTIVE)
    assert (row.initial_sync_after, row.initial_sync_cursor, row.initial_sync_found) == (None, 1, 2)


async def test_a_request_for_more_days_restarts_the_backfill_at_the_first_page(store, clock):
    await service(store).sync(OWNER)
    await page(store, 1, 2)
    clock.advance(minutes=5)
    await service(store).sync(OWNER, days=90)
    after = clock.now() - 90 * DAY
    assert await hint_of(store) == BackfillHint(epoch(clock.now() + LIST_AHEAD), epoch(after))
    row = await athlete(store)
    assert (row.initial_sync_after, row.initial_sync_cursor, row.initial_sync_found) == (after, 0, 0)
    await service(store).sync(OWNER, everything=True)
    assert (await hint_of(store)).after is None
    assert (await athlete(store)).initial_sync_after is None


async def test_a_backfill_that_waited_for_days_lists_up_to_now(store, clock):
    """Its window ended when it began: newer activities would be in no page of it."""
    await service(store).sync(OWNER, everything=True)
    await page(store, 1)
    clock.advance(days=3)
    await service(store).sync(OWNER, days=1)
    assert await hint_of(store) == BackfillHint(epoch(clock.now() + LIST_AHEAD), None)
    assert (await athlete(store)).initial_sync_cursor == 0


async def test_a_request_during_a_page_does_not_list_the_page_twice(store):
    await service(store).sync(OWNER, everything=True)
    job = await store.lease_one()
    await service(store).sync(OWNER, days=1)
    rest = BackfillHint(job.hint.before, page=2)
    await store.queue.finish(job, Continue((StorePage(OWNER, (summary(1),), ()),), rest, Lane.BACKFILL))
    assert await hint_of(store) == rest
    assert (await athlete(store)).initial_sync_found == 1


async def test_a_request_for_more_days_during_a_page_survives_the_end_of_the_page(store, clock):
    await service(store).sync(OWNER)
    job = await store.lease_one()
    await service(store).sync(OWNER, everything=True)
    rest = BackfillHint(job.hint.before, job.hint.after, page=2)
    await store.queue.finish(job, Continue((StorePage(OWNER, (summary(1),), ()),), rest, Lane.BACKFILL))
    assert await hint_of(store) == BackfillHint(epoch(clock.now() + LIST_AHEAD), None)


async def test_a_backfill_that_lost_access_continues_when_the_athlete_reconnects(store):
    await service(store).sync(OWNER, everything=True)
    rest = await page(store, 1)
    job = next(job for job in await store.lease() if job.kind == "backfill_athlete")
    await store.queue.finish(job, Discard("connect again", kind="token_rejected"))
    await connect(store)
    assert await hint_of(store) == rest


async def test_each_athlete_has_a_separate_backfill(store):
    await service(store).sync(OWNER, everything=True)
    await service(store).sync(OTHER, days=1)
    hints = {job.athlete_id: job.hint.after is None for job in await store.lease()}
    assert hints == {OWNER: True, OTHER: False}


async def test_a_shorter_backfill_later_does_not_shrink_the_synced_window(store, clock):
    """Reconciliations cover it for good."""
    await service(store).sync(OWNER, everything=True)
    await store.run(Done((FinishListing(OWNER),)))
    await service(store).sync(OWNER, days=1)
    assert (await hint_of(store)).after == epoch(clock.now() - DAY)
    assert (await athlete(store)).initial_sync_after is None


async def test_an_athlete_who_left_and_reconnects_gets_a_new_backfill(store, clock):
    await service(store).sync(OWNER, everything=True)
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    await connect(store)
    assert (await hint_of(store)).after == epoch(clock.now() - 30 * DAY)
    assert (await athlete(store)).initial_sync_after == clock.now() - 30 * DAY


# After an absence


@pytest.mark.parametrize("status", ["active", "needs_reauth"])
async def test_after_an_absence_the_backfill_begins_at_the_last_reconciliation(store, clock, status):
    await connect(store)
    await store.run(Done((FinishListing(OWNER),)))
    await store.apply(StoreReconciliation(OWNER, True, (), ()), MarkAthlete(OWNER, status, "401"))
    seen = clock.now()
    clock.advance(days=60)
    await connect(store)
    assert (await hint_of(store)).after == epoch(seen - DAY)


async def test_after_an_absence_without_a_reconciliation_the_backfill_begins_at_the_last_one(store, clock):
    await connect(store)
    await store.run(Done((FinishListing(OWNER),)))
    seen = clock.now()
    clock.advance(days=60)
    await connect(store)
    assert (await hint_of(store)).after == epoch(seen - DAY)


async def test_a_new_athlete_and_one_after_a_short_absence_get_the_usual_days(store, clock):
    await connect(store)
    assert (await hint_of(store)).after == epoch(clock.now() - 30 * DAY)
    await store.run(Done((FinishListing(OWNER),)))
    clock.advance(days=28)
    await connect(store)
    assert (await hint_of(store)).after == epoch(clock.now() - 30 * DAY)


# Requested reconciliations


async def reconciliation_hint(store: Store) -> ReconcileHint:
    await ReconciliationService(store.database, store.clock, FakeStrava(), 30).reconcile(OWNER)
    (job,) = [job for job in await store.lease() if job.kind == "reconcile_athlete"]
    return job.hint


@pytest.mark.parametrize(("everything", "days"), [(True, None), (False, 90), (False, 30)])
async def test_a_requested_reconciliation_covers_the_complete_synced_window(store, clock, everything, days):
    await service(store).sync(OWNER, days=days, everything=everything)
    since = 0 if everything else epoch(clock.now() - days * DAY)
    await store.run(Done((FinishListing(OWNER),)))
    clock.advance(days=1)
    assert await reconciliation_hint(store) == ReconcileHint(days=30, since=since)


async def test_a_requested_reconciliation_before_the_end_of_a_backfill_covers_the_usual_days(store):
    await service(store).sync(OWNER, everything=True)
    assert await reconciliation_hint(store) == ReconcileHint(days=30)
