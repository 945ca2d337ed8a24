"""An update event shows title, type and privacy at once; the activity is stale until it is fetched."""

from __future__ import annotations

import msgspec
import pytest
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, detail, event, fetched, retitled, streams

from feedzone.domain.outcome import Done
from feedzone.store.schema.tables import strava_activities


@pytest.fixture
async def held(store):
    """An activity that is synced, of athlete OWNER."""
    await store.apply(fetched(detail()), streams())
    return store


def updated(at: int = 0, **updates: str) -> object:
    return event(aspect_type="update", event_time=EVENT_TIME + at, updates=updates)


async def test_a_new_title_is_visible_before_anything_is_fetched(held):
    await held.deliver(retitled("Lunch Ride"))
    row = await held.row(strava_activities)
    assert (row.name, row.sync_status, row.last_event_time) == ("Lunch Ride", "pending", EVENT_TIME)


async def test_the_change_is_logged_with_the_event_that_said_it(held):
    (receipt,) = await held.deliver(retitled("Lunch Ride"))
    (change,) = await held.edits()
    assert (change.field, change.cause) == ("name", f"event:{receipt.event_id}")
    assert msgspec.json.decode(change.new_value) == "Lunch Ride"


async def test_an_older_event_that_comes_late_shows_nothing(held):
    await held.deliver(updated(9, title="Newest"))
    await held.deliver(updated(8, title="Older", private="true"))
    row = await held.row(strava_activities)
    assert (row.name, row.private, row.last_event_time) == ("Newest", False, EVENT_TIME + 9)


async def test_of_two_events_of_one_second_the_later_one_heard_is_shown(held):
    """event_time has one second resolution (pain 16); the fetch tells who was right."""
    await held.deliver(updated(title="First"))
    await held.deliver(updated(title="Second"))
    assert (await held.row(strava_activities)).name == "Second"


async def test_titles_in_one_group_end_with_the_newest(held):
    await held.deliver(updated(1, title="b"), updated(3, title="d"), updated(2, title="c"))
    assert (await held.row(strava_activities)).name == "d"


async def test_another_athletes_event_touches_nothing(held):
    before = await held.row(strava_activities)
    await held.deliver(retitled("Forged", owner_id=OTHER))
    assert await held.row(strava_activities) == before


async def test_an_event_whose_signature_is_wrong_shows_nothing_and_is_still_looked_into(held):
    await held.deliver(retitled("Forged"), signature="mismatch")
    row = await held.row(strava_activities)
    assert (row.name, row.sync_status) == ("Morning Ride", "pending")
    assert (await held.lease_one()).object_id == ACTIVITY


@pytest.mark.parametrize("said", ["true", "True", True])
async def test_what_became_private_is_only_mine_at_once(held, said):
    await held.deliver(updated(private=said))
    row = await held.row(strava_activities)
    assert (row.private, row.visibility) == (True, "only_me")


async def test_what_is_no_longer_private_stays_hidden_until_strava_says_who_may_see_it(held):
    await held.deliver(updated(0, private="true"))
    await held.deliver(updated(1, private="false"))
    row = await held.row(strava_activities)
    assert (row.private, row.visibility) == (True, "only_me")


async def test_a_new_type_is_shown_as_type_and_sport_type(held):
    await held.deliver(updated(type="Run"))
    row = await held.row(strava_activities)
    assert (row.type, row.sport_type) == ("Run", "Run")


async def test_the_same_coarse_type_leaves_the_finer_sport_type(held):
    await held.deliver(updated(type="Ride"))
    row = await held.row(strava_activities)
    assert (row.type, row.sport_type) == ("Ride", "GravelRide")


async def test_updates_that_we_do_not_know_mark_stale_and_show_nothing(held):
    await held.deliver(updated(new_key_of_2027="x", private="maybe"))
    row = await held.row(strava_activities)
    assert (row.name, row.private, row.sync_status) == ("Morning Ride", False, "pending")
    assert await held.edits() == []


@pytest.mark.parametrize(("title", "shown"), [("a\x00b", "ab"), ("", ""), ("😀", "😀")])
async def test_any_title_can_be_shown(held, title, shown):
    await held.deliver(retitled(title))
    assert (await held.row(strava_activities)).name == shown


async def test_an_update_of_an_activity_that_we_do_not_hold_makes_no_row(store):
    await store.deliver(retitled("Before the create"))
    assert await store.rows(strava_activities) == []


@pytest.mark.parametrize("aspect", ["create", "update", "delete"])
async def test_any_event_marks_the_activity_stale(held, clock, aspect):
    clock.advance(seconds=30)
    await held.deliver(event(aspect_type=aspect))
    row = await held.row(strava_activities)
    assert (row.sync_status, row.webhook_received_at) == ("pending", clock.now())
    assert row.name == "Morning Ride"  # nothing is destroyed on hearsay


async def test_only_the_activity_of_the_event_is_stale(held):
    await held.apply(fetched(detail(5)), fetched(detail(6, OTHER)))
    await held.deliver(event(object_id=5), event(object_id=6, owner_id=OWNER))
    rows = {row.id: row.sync_status for row in await held.rows(strava_activities)}
    assert rows == {5: "pending", 6: "synced", ACTIVITY: "synced"}


async def test_after_the_fetch_the_activity_is_what_strava_says_not_what_the_event_said(held):
    await held.deliver(retitled("What the event said"))
    await held.run(Done((fetched(detail(name="What is true")),)))
    row = await held.row(strava_activities)
    assert (row.name, row.sync_status) == ("What is true", "synced")
