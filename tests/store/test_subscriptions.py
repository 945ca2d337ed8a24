"""There is at most one active push subscription, and every athlete's row shows whether there is one."""

from __future__ import annotations

from store_makers import event

from feedzone.store import subscriptions
from feedzone.store.schema.tables import strava_athletes, webhook_events


async def remember(store, subscription_id, url="https://x/hook"):
    now = store.clock.now()
    await store.write(lambda c: subscriptions.remember(c, subscription_id, url, now))
    await subscriptions.mark_athletes(store.database)


async def covered(store):
    return {row.webhook_subscription_active for row in await store.rows(strava_athletes)}


async def test_there_is_no_active_subscription_at_first(store):
    assert await store.read(subscriptions.active_ids) == set()
    assert await covered(store) == {False}


async def test_only_the_newest_subscription_is_active(store, clock):
    """Strava allows an application one."""
    await remember(store, 7)
    clock.advance(days=1)
    await remember(store, 9, "https://y/hook")
    assert await store.read(subscriptions.active_ids) == {9}
    listed = await store.read(subscriptions.listing)
    assert [(row.subscription_id, row.callback_url, row.is_active) for row in listed] == [
        (9, "https://y/hook", True),
        (7, "https://x/hook", False),
    ]
    assert await covered(store) == {True}


async def test_storing_the_same_subscription_again_only_changes_its_address(store):
    await remember(store, 7)
    await remember(store, 7, "https://moved/hook")
    (row,) = await store.read(subscriptions.listing)
    assert (row.subscription_id, row.callback_url, row.is_active) == (7, "https://moved/hook", True)


async def test_a_removed_subscription_stays_as_an_inactive_row(store):
    await remember(store, 7)
    for _ in range(2):
        await store.write(subscriptions.forget)
        await subscriptions.mark_athletes(store.database)
    assert await store.read(subscriptions.active_ids) == set()
    assert [row.is_active for row in await store.read(subscriptions.listing)] == [False]
    assert await covered(store) == {False}


async def test_events_of_an_old_subscription_are_stored_and_ignored(store):
    await remember(store, 120475)
    await remember(store, 9)
    await store.deliver(event(subscription_id=120475))
    assert (await store.row(webhook_events)).ignored_because == "foreign_subscription"
    assert await store.lease() == []
