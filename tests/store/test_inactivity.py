"""Who is idle, as nothing comes of them; who is quiet, as no event announces what comes."""

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
    """Activities that began some time ago, as a list shows them."""
    began = store.clock.now() - ago
    return tuple(summary(number, athlete_id, start_date=began, elapsed_time=1800) for number in numbers)


async def compare(store: Store, *records, athlete_id: int = OWNER) -> None:
    found = tuple(refresh(athlete_id, one.id) for one in records)
    await store.apply(StoreReconciliation(athlete_id, True, records, found, (), 2))


async def days_pass_with_silent_rides(store: Store, *numbers: int) -> None:
    """A ride a day, which no event announces and a comparison finds."""
    for number in numbers:
        store.clock.advance(days=1)
        await compare(store, *rides(store, number))


async def quiet(store: Store) -> set[int]:
    """Who is quiet; the list, the count and what is told of each athlete must agree."""
    now = store.clock.now()

    def body(connection) -> set[int]:
        told = inactivity.signs_of(connection, (OWNER, OTHER), now)
        found = {number for number, signs in told.items() if signs.quiet}
        listed = athletes.listing(connection, limit=9, condition=inactivity.quiet(connection, now))
        assert {row.id for row in listed} == found
        assert inactivity.quiet_count(connection, now) == len(found)
        return found

    return await store.read(body)


async def idle(store: Store, days: int) -> list[int]:
    before = store.clock.now() - timedelta(days=days)
    rows = await store.read(lambda c: athletes.listing(c, limit=9, condition=inactivity.idle(before)))
    return [row.id for row in rows]


# Nothing comes: a seat at Strava is wasted


async def test_who_sent_nothing_for_so_many_days_is_idle_and_who_just_connected_is_not(store):
    """Pain 37."""
    assert await idle(store, 1) == []
    store.clock.advance(days=89)
    assert await idle(store, 90) == []
    store.clock.advance(days=1)
    assert await idle(store, 90) == [OWNER, OTHER]


async def test_whose_event_or_activity_came_meanwhile_is_not_idle(store):
    store.clock.advance(days=80)
    await store.deliver(event(owner_id=OWNER))
    await store.apply(fetched(detail(7, OTHER, start_date=store.clock.now())))
    store.clock.advance(days=20)
    assert await idle(store, 90) == []
    assert await idle(store, 21) == []
    assert await idle(store, 20) == [OWNER, OTHER]


async def test_an_old_activity_that_is_fetched_late_is_no_sign_of_life(store):
    store.clock.advance(days=100)
    await store.apply(fetched(detail(7, start_date=store.clock.now() - timedelta(days=95))))
    assert await idle(store, 90) == [OWNER, OTHER]


async def test_who_has_left_holds_no_seat_and_is_not_listed(store):
    store.clock.advance(days=100)
    await store.apply(MarkAthlete(OWNER, "needs_reauth", "401"), MarkAthlete(OTHER, "deauthorized", None))
    assert await idle(store, 90) == [OWNER]


async def test_the_idle_are_listed_page_by_page(store):
    for number in (3, 9):
        await store.connect(number)
    store.clock.advance(days=100)
    await store.deliver(event(owner_id=9))
    before = store.clock.now() - timedelta(days=90)
    wanted = inactivity.idle(before)
    first = await store.read(lambda c: athletes.listing(c, limit=2, condition=wanted))
    rest = await store.read(lambda c: athletes.listing(c, limit=2, after_id=first[-1].id, condition=wanted))
    assert [row.id for row in (*first, *rest)] == [3, OWNER, OTHER]


async def test_the_latest_start_is_told_of_each_athlete(store):
    assert (await told(store, OWNER)).latest_start is None
    early, late = (store.clock.now() - timedelta(days=days) for days in (9, 2))
    await store.apply(fetched(detail(1, start_date=late)), fetched(detail(2, start_date=early)))
    assert (await told(store, OWNER)).latest_start == late
    assert (await told(store, OTHER)).latest_start is None


async def told(store: Store, athlete_id: int) -> inactivity.Signs:
    now = store.clock.now()
    return (await store.read(lambda c: inactivity.signs_of(c, [athlete_id], now)))[athlete_id]


# Activities come, but no events


async def test_who_uploads_without_any_event_is_quiet_from_the_third_activity_on(store):
    """Pain 30: all scopes are there, and yet Strava announces nothing."""
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2)
    assert await quiet(store) == set()
    await days_pass_with_silent_rides(store, 3)
    assert await quiet(store) == {OWNER}


async def test_an_event_of_the_athlete_shows_that_events_come(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.deliver(event(object_id=3, aspect_type="update"))
    assert await quiet(store) == set()
    await days_pass_with_silent_rides(store, 4, 5)
    assert await quiet(store) == set()
    await days_pass_with_silent_rides(store, 6)
    assert await quiet(store) == {OWNER}


async def test_who_connects_again_begins_anew(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.connect(OWNER)
    assert await quiet(store) == set()


async def test_what_a_first_sync_or_a_history_found_is_not_held_against_the_athlete(store):
    await subscribe(store)
    store.clock.advance(days=3)
    await store.apply(StorePage(OWNER, rides(store, 1, 2, 3, 4), ()))
    await compare(store, *rides(store, 1, 2, 3, 4))
    assert await quiet(store) == set()


async def test_what_began_before_the_athlete_connected_is_not_held_against_them(store):
    """A comparison may come before the first sync has listed everything."""
    await subscribe(store)
    store.clock.advance(hours=1)
    await compare(store, *rides(store, 1, 2, 3, 4))
    assert await quiet(store) == set()


async def test_what_began_before_there_was_a_subscription_is_not_held_against_anybody(store):
    store.clock.advance(days=3)
    await compare(store, *rides(store, 1, 2, 3))
    assert await quiet(store) == set()  # Strava is asked instead
    await subscribe(store)
    await compare(store, *rides(store, 4, 5, 6))
    assert await quiet(store) == set()


async def test_without_a_subscription_nobody_is_quiet(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.write(subscriptions.forget)
    assert await quiet(store) == set()


async def test_what_is_long_ago_is_forgotten(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    store.clock.advance(days=27)
    assert await quiet(store) == {OWNER}
    store.clock.advance(days=1)
    assert await quiet(store) == set()


async def test_only_what_is_still_here_counts(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.apply(Tombstone(2, OWNER, "reconciliation"))
    assert await quiet(store) == set()


async def test_what_has_just_ended_may_still_be_announced(store):
    """As the webhook guard counts."""
    await subscribe(store)
    store.clock.advance(days=1)
    await compare(store, *rides(store, 1, 2, 3, ago=timedelta(minutes=35)))
    assert await quiet(store) == set()


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope", "deauthorized"])
async def test_who_must_connect_again_anyway_is_told_so_elsewhere(store, status):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2, 3)
    await store.apply(MarkAthlete(OWNER, status, "401"))
    assert await quiet(store) == set()


async def test_the_silence_of_one_athlete_is_not_anothers(store):
    await subscribe(store)
    await days_pass_with_silent_rides(store, 1, 2)
    await compare(store, *rides(store, 11, 12, athlete_id=OTHER), athlete_id=OTHER)
    assert await quiet(store) == set()
