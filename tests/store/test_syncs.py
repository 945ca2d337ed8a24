"""What is asked for while a history is being listed is added to it; who was away loses nothing by it."""

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


class Desk:
    """Strava's side of a consent, and nobody who waits to be woken."""

    async def exchange(self, code: str) -> tuple[Any, AthleteProfile]:
        return None, AthleteProfile(OWNER, "ada", "Ada", "Lovelace")

    def save_exchanged(self, *_given: object) -> None: ...

    def notify(self) -> None: ...

    async def wait(self, timeout: float) -> bool:
        return False


def people(store: Store) -> AthleteService:
    desk: Any = Desk()
    return AthleteService(store.database, store.clock, desk, desk, desk, "", 30)


async def connect(store: Store) -> None:
    await people(store).connect("code", "read,activity:read")


async def listing(store: Store) -> Any:
    (row,) = [row for row in await store.rows(jobs) if row.kind == "backfill_athlete"]
    return SimpleNamespace(hint=(await hint_of(store)), lane=Lane(row.priority), version=row.version)


async def hint_of(store: Store) -> BackfillHint:
    found = await store.read(lambda c: deferral.live(c, "backfill_athlete", [f"athlete:{OWNER}"]))
    hint = found[OWNER].hint
    assert isinstance(hint, BackfillHint)
    return hint


async def athlete(store: Store) -> Any:
    return await store.row(strava_athletes, id=OWNER)


def epoch(at: datetime) -> int:
    return int(at.timestamp())


async def page(store: Store, *ids: int) -> BackfillHint:
    """One more page of the list is stored; returns where it goes on."""
    job = next(one for one in await store.lease() if one.kind == "backfill_athlete")
    rest = BackfillHint(job.hint.before, job.hint.after, job.hint.page + 1)
    stored = StorePage(OWNER, tuple(summary(number) for number in ids), ())
    assert await store.queue.finish(job, Continue((stored,), rest, Lane.BACKFILL))
    return rest


# While a history is being listed (pains 40 and 46)


@pytest.mark.parametrize("again", ["days", "connect"])
async def test_less_that_is_asked_for_meanwhile_lets_a_longer_history_go_on_where_it_is(store, clock, again):
    """`sync --all`, and then `sync --days 1`, or the athlete connects again."""
    await people(store).sync(OWNER, everything=True)
    rest = await page(store, 1, 2)
    clock.advance(minutes=5)
    await (people(store).sync(OWNER, days=1) if again == "days" else connect(store))
    found, row = await listing(store), await athlete(store)
    assert (found.hint, found.lane) == (rest, Lane.INTERACTIVE)
    assert (row.initial_sync_after, row.initial_sync_cursor, row.initial_sync_found) == (None, 1, 2)


async def test_more_that_is_asked_for_meanwhile_is_listed_from_the_first_page(store, clock):
    await people(store).sync(OWNER)
    await page(store, 1, 2)
    clock.advance(minutes=5)
    await people(store).sync(OWNER, days=90)
    after = clock.now() - 90 * DAY
    assert await hint_of(store) == BackfillHint(epoch(clock.now() + LIST_AHEAD), epoch(after))
    row = await athlete(store)
    assert (row.initial_sync_after, row.initial_sync_cursor, row.initial_sync_found) == (after, 0, 0)
    await people(store).sync(OWNER, everything=True)
    assert (await hint_of(store)).after is None
    assert (await athlete(store)).initial_sync_after is None


async def test_a_history_that_waited_for_days_is_listed_up_to_now(store, clock):
    """Its window ended when it began: what is newer would be in no page of it."""
    await people(store).sync(OWNER, everything=True)
    await page(store, 1)
    clock.advance(days=3)
    await people(store).sync(OWNER, days=1)
    assert await hint_of(store) == BackfillHint(epoch(clock.now() + LIST_AHEAD), None)
    assert (await athlete(store)).initial_sync_cursor == 0


async def test_a_page_that_is_being_asked_for_is_not_asked_for_twice(store):
    await people(store).sync(OWNER, everything=True)
    job = await store.lease_one()
    await people(store).sync(OWNER, days=1)
    rest = BackfillHint(job.hint.before, page=2)
    await store.queue.finish(job, Continue((StorePage(OWNER, (summary(1),), ()),), rest, Lane.BACKFILL))
    assert await hint_of(store) == rest
    assert (await athlete(store)).initial_sync_found == 1


async def test_more_that_is_asked_for_while_a_page_is_read_is_not_forgotten_when_it_is_there(store, clock):
    await people(store).sync(OWNER)
    job = await store.lease_one()
    await people(store).sync(OWNER, everything=True)
    rest = BackfillHint(job.hint.before, job.hint.after, page=2)
    await store.queue.finish(job, Continue((StorePage(OWNER, (summary(1),), ()),), rest, Lane.BACKFILL))
    assert await hint_of(store) == BackfillHint(epoch(clock.now() + LIST_AHEAD), None)


async def test_a_history_that_was_given_up_for_want_of_access_goes_on_when_the_athlete_is_back(store):
    await people(store).sync(OWNER, everything=True)
    rest = await page(store, 1)
    job = next(one for one in await store.lease() if one.kind == "backfill_athlete")
    await store.queue.finish(job, Discard("connect again", kind="token_rejected"))
    await connect(store)
    assert await hint_of(store) == rest


async def test_each_athlete_has_a_history_of_their_own(store):
    await people(store).sync(OWNER, everything=True)
    await people(store).sync(OTHER, days=1)
    hints = {job.athlete_id: job.hint.after is None for job in await store.lease()}
    assert hints == {OWNER: True, OTHER: False}


async def test_what_was_listed_once_is_not_forgotten_when_less_is_asked_for_later(store, clock):
    """It is compared for good (pain 52)."""
    await people(store).sync(OWNER, everything=True)
    await store.run(Done((FinishListing(OWNER),)))
    await people(store).sync(OWNER, days=1)
    assert (await hint_of(store)).after == epoch(clock.now() - DAY)
    assert (await athlete(store)).initial_sync_after is None


async def test_who_comes_back_after_leaving_begins_anew(store, clock):
    await people(store).sync(OWNER, everything=True)
    await store.apply(PurgeAthlete(OWNER, "disconnected", "request", "the operator"))
    await connect(store)
    assert (await hint_of(store)).after == epoch(clock.now() - 30 * DAY)
    assert (await athlete(store)).initial_sync_after == clock.now() - 30 * DAY


# Who was away (pains 14 and 40)


@pytest.mark.parametrize("status", ["active", "needs_reauth"])
async def test_who_comes_back_gets_what_began_since_the_last_comparison(store, clock, status):
    await connect(store)
    await store.run(Done((FinishListing(OWNER),)))
    await store.apply(StoreReconciliation(OWNER, True, (), ()), MarkAthlete(OWNER, status, "401"))
    seen = clock.now()
    clock.advance(days=60)
    await connect(store)
    assert (await hint_of(store)).after == epoch(seen - DAY)


async def test_who_was_never_compared_gets_what_began_since_the_first_sync(store, clock):
    await connect(store)
    await store.run(Done((FinishListing(OWNER),)))
    seen = clock.now()
    clock.advance(days=60)
    await connect(store)
    assert (await hint_of(store)).after == epoch(seen - DAY)


async def test_who_was_away_for_less_or_is_new_gets_the_usual_days(store, clock):
    await connect(store)
    assert (await hint_of(store)).after == epoch(clock.now() - 30 * DAY)
    await store.run(Done((FinishListing(OWNER),)))
    clock.advance(days=28)
    await connect(store)
    assert (await hint_of(store)).after == epoch(clock.now() - 30 * DAY)


# A comparison that somebody asks for (pain 52)


async def asked(store: Store) -> ReconcileHint:
    await ReconciliationService(store.database, store.clock, Desk(), 30).verify(OWNER)
    (job,) = [job for job in await store.lease() if job.kind == "reconcile_athlete"]
    return job.hint


@pytest.mark.parametrize(("everything", "days"), [(True, None), (False, 90), (False, 30)])
async def test_what_is_compared_on_demand_is_all_that_was_synced(store, clock, everything, days):
    await people(store).sync(OWNER, days=days, everything=everything)
    since = 0 if everything else epoch(clock.now() - days * DAY)
    await store.run(Done((FinishListing(OWNER),)))
    clock.advance(days=1)
    assert await asked(store) == ReconcileHint(days=30, since=since)


async def test_before_the_first_sync_is_listed_the_usual_days_are_compared(store):
    await people(store).sync(OWNER, everything=True)
    assert await asked(store) == ReconcileHint(days=30)
