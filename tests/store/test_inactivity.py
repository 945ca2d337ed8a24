"""Idle athletes, without any activity, and quiet athletes, whose activities come without events."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_makers import OTHER, OWNER, Store, detail, event, fetched, summary

from feedzone.domain.effect import MarkAthlete, StorePage, StoreReconciliation, Tombstone
from feedzone.domain.reconciliation import refresh
from feedzone.store import athletes, subscriptions
from feedzone.store.reads import inactivity

HOUR = timedelta(hours=1)
SUBSCRIPTION = 120475


async def subscribe(store: Store) -> None:
    now = store.clock.now()
    await store.write(lambda c: subscriptions.remember(c, SUBSCRIPTION, "https://x.test", now))


def rides(store: Store, *numbers: int, athlete_id: int = OWNER, ago: timedelta = 2 * HOUR):
    """Return activities that started `ago`, as a list shows them."""
    began = store.clock.now() - ago
    return tuple(summary(number, athlete_id, start_date=began, elapsed_time=1800) for number in numbers)


async def reconcile(store: Store, *records, athlete_id: int = OWNER) -> None:
    jobs = tuple(refresh(athlete_id, record.id) for record in records)
    await store.apply(StoreReconciliation(athlete_id, True, records, jobs, (), 2))


async def days_pass_with_silent_rides(store: Store, *numbers: int) -> None:
    """Store a ride a day that reconciliation finds without an event."""
    for number in numbers:
        store.clock.advance(days=1)
        await reconcile(store, *rides(store, number))


async def quiet(store: Store) -> set[int]:
    """Return the quiet athletes; list, count and signs of each athlete must agree."""
    now = store.clock.now()

    def body(connection) -> set[int]:
        signs = inactivity.signs_of(connection, (OWNER, OTHER), now)
        quiet_ids = {athlete_id for athlete_id, each in signs.items() if each.quiet}
        listed = athletes.listing(connection, limit=9, condition=inactivity.quiet(connection, now))
        assert {row.id for row in listed} == quiet_ids
        assert inactivity.quiet_count(connection, now) == len(quiet_ids)
        return quiet_ids

    return await store.read(body)


async def idle(store: Store, days: int) -> list[int]:
    before = store.clock.now() - timedelta(days=days)
    rows = await store.read(lambda c: athletes.listing(c, limit=9, condition=inactivity.idle(before)))
    return [row.id for row in rows]


# Nothing comes: a seat at Strava is wasted


async def test_an_athlete_without_activity_is_idle_but_not_right_after_connecting(store):
    assert await idle(store, 1) == []
    store.clock.advance(days=89)
    assert await idle(store, 90) == []
    store.clock.advance(days=1)
    assert await idle(store, 90) == [OWNER, OTHER]


async def test_an_athlete_with_a_recent_event_or_activity_is_not_idle(store):
    store.clock.advance(days=80)
    await store.deliver(event(owner_id=OWNER))
    await store.apply(fetched(detail(7, OTHER, start_date=store.clock.now())))
    store.clock.advance(days=20)
    assert await idle(store, 90) == []
    assert await idle(store, 21) == []
    assert await idle(store, 20) == [OWNER, OTHER]


async def test_an_old_activity_that_is_fetched_late_does_not_end_idleness(store):
    store.clock.advance(days=100)
    await store.apply(fetched(detail(7, start_date=store.clock.now() - timedelta(days=95))))
    assert await idle(store, 90) == [OWNER, OTHER]


async def test_a_disconnected_athlete_is_not_listed_as_idle(store):
    store.clock.advance(days=100)
    await store.apply(MarkAthlete(OWNER, "needs_reauth", "401"), MarkAthlete(OTHER, "deauthorized", None))
    assert await idle(store, 90) == [OWNER]


async def test_idle_athletes_are_listed_page_by_page(store):
    for number in (3, 9):
        await store.connect(number)
    store.clock.advance(days=100)
    await store.deliver(event(owner_id=9))
    before = store.clock.now() - timedelta(days=90)
    where = inactivity.idle(before)
    first = await store.read(lambda c: athletes.listing(c, limit=2, condition=where))
    rest = await store.read(lambda c: athletes.listing(c, limit=2, after_id=first[-1].id, condition=where))
    assert [row.id for row in (*first, *rest)] == [3, OWNER, OTHER]


async def test_each_athlete_has_the_latest_start(store):
    assert (await signs_of(store, OWNER)).latest_start is None
    early, late = (store.clock.now() - timedelta(days=days) for days in (9, 2))
    await store.apply(fetched(detail(1, start_date=late)), fetched(detail(2, start_date=early)))
    assert (await signs_of(store, OWNER)).latest_start == late
    assert (await signs_of(store, OTHER)).latest_start is None


async def signs_of(store: Store, athlete_id: int) -> inactivity.InactivitySigns:
    now = store.clock.now()
    return (await store.read(lambda c: inactivity.signs_of(c, [athlete_id], now)))[athlete_id]


# Activities come, but no events


async def test_an_athlete_is_quiet_from_the_third_activity_without_an_event_on(store):
    """All scopes are there, and yet Strava announces nothing."""
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2)
    assert await quiet(store) == set()
    await days_pass_with_silent_rides(store, 3)
    assert await quiet(store) == {OWNER}


async def test_an_event_ends_quietness(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.deliver(event(object_id=3, aspect_type="update"))
    assert await quiet(store) == set()
    await days_pass_with_silent_rides(store, 4, 5)
    assert await quiet(store) == set()
    await days_pass_with_silent_rides(store, 6)
    assert await quiet(store) == {OWNER}


async def test_connecting_again_resets_quietness(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.connect(OWNER)
    assert await quiet(store) == set()


async def test_activities_from_a_backfill_do_not_count_as_missing_events(store):
    await subscribe(store)
    store.clock.advance(days=3)
    await store.apply(StorePage(OWNER, rides(store, 1, 2, 3, 4), ()))
    await reconcile(store, *rides(store, 1, 2, 3, 4))
    assert await quiet(store) == set()


async def test_activities_before_the_connection_do_not_count_as_missing_events(store):
    """Reconciliation may run before the backfill has listed everything."""
    await subscribe(store)
    store.clock.advance(hours=1)
    await reconcile(store, *rides(store, 1, 2, 3, 4))
    assert await quiet(store) == set()


async def test_activities_before_the_subscription_do_not_count_as_missing_events(store):
    store.clock.advance(days=3)
    await reconcile(store, *rides(store, 1, 2, 3))
    assert await quiet(store) == set()  # Strava is asked instead
    await subscribe(store)
    await reconcile(store, *rides(store, 4, 5, 6))
    assert await quiet(store) == set()


async def test_without_a_subscription_no_athlete_is_quiet(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.write(subscriptions.forget)
    assert await quiet(store) == set()


async def test_missing_events_of_long_ago_do_not_count(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    store.clock.advance(days=27)
    assert await quiet(store) == {OWNER}
    store.clock.advance(days=1)
    assert await quiet(store) == set()


async def test_deleted_activities_do_not_count_as_missing_events(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.apply(Tombstone(2, OWNER, "reconciliation"))
    assert await quiet(store) == set()


async def test_an_activity_that_just_ended_does_not_count_yet(store):
    """As the webhook guard counts."""
    await subscribe(store)
    store.clock.advance(days=1)
    await reconcile(store, *rides(store, 1, 2, 3, ago=timedelta(minutes=35)))
    assert await quiet(store) == set()


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope", "deauthorized"])
async def test_an_athlete_that_must_connect_again_is_not_quiet(store, status):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.apply(MarkAthlete(OWNER, status, "401"))
    assert await quiet(store) == set()


async def test_quietness_is_separate_for_each_athlete(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2)
    await reconcile(store, *rides(store, 11, 12, athlete_id=OTHER), athlete_id=OTHER)
    assert await quiet(store) == set()
