"""An update event changes title, type and privacy at once; then the activity is pending."""

from __future__ import annotations

import msgspec
import pytest
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, detail, event, fetched, retitled, streams

from feedzone.domain.outcome import Done
from feedzone.store.schema.tables import strava_activities


@pytest.fixture
async def synced(store):
    """A store with a synced activity of OWNER."""
    await store.apply(fetched(detail()), streams())
    return store


def updated(at: int = 0, **updates: str) -> object:
    return event(aspect_type="update", event_time=EVENT_TIME + at, updates=updates)


async def test_a_new_title_is_visible_before_anything_is_fetched(synced):
    await synced.deliver(retitled("Lunch Ride"))
    row = await synced.row(strava_activities)
    assert (row.name, row.sync_status, row.last_event_time) == ("Lunch Ride", "pending", EVENT_TIME)


async def test_the_change_is_logged_with_its_event(synced):
    (receipt,) = await synced.deliver(retitled("Lunch Ride"))
    (change,) = await synced.edits()
    assert (change.field, change.cause) == ("name", f"event:{receipt.event_id}")
    assert msgspec.json.decode(change.new_value) == "Lunch Ride"


async def test_a_late_older_event_changes_nothing(synced):
    await synced.deliver(updated(9, title="Newest"))
    await synced.deliver(updated(8, title="Older", private="true"))
    row = await synced.row(strava_activities)
    assert (row.name, row.private, row.last_event_time) == ("Newest", False, EVENT_TIME + 9)


async def test_the_last_received_of_two_events_in_one_second_is_shown(synced):
    """event_time has a resolution of one second (docs/strava-api.md#webhook-events); the fetch decides."""
    await synced.deliver(updated(title="First"))
    await synced.deliver(updated(title="Second"))
    assert (await synced.row(strava_activities)).name == "Second"


async def test_the_newest_title_of_one_group_is_shown(synced):
    await synced.deliver(updated(1, title="b"), updated(3, title="d"), updated(2, title="c"))
    assert (await synced.row(strava_activities)).name == "d"


async def test_another_athletes_event_touches_nothing(synced):
    before = await synced.row(strava_activities)
    await synced.deliver(retitled("Forged", owner_id=OTHER))
    assert await synced.row(strava_activities) == before


async def test_an_event_with_a_wrong_signature_changes_nothing_and_causes_a_fetch(synced):
    await synced.deliver(retitled("Forged"), signature="mismatch")
    row = await synced.row(strava_activities)
    assert (row.name, row.sync_status) == ("Morning Ride", "pending")
    assert (await synced.lease_one()).object_id == ACTIVITY


@pytest.mark.parametrize("value", ["true", "True", True])
async def test_an_activity_becomes_private_at_once(synced, value):
    await synced.deliver(updated(private=value))
    row = await synced.row(strava_activities)
    assert (row.private, row.visibility) == (True, "only_me")


async def test_an_activity_becomes_public_only_after_a_fetch(synced):
    await synced.deliver(updated(0, private="true"))
    await synced.deliver(updated(1, private="false"))
    row = await synced.row(strava_activities)
    assert (row.private, row.visibility) == (True, "only_me")


async def test_a_new_type_is_shown_as_type_and_sport_type(synced):
    await synced.deliver(updated(type="Run"))
    row = await synced.row(strava_activities)
    assert (row.type, row.sport_type) == ("Run", "Run")


async def test_the_same_coarse_type_leaves_the_finer_sport_type(synced):
    await synced.deliver(updated(type="Ride"))
    row = await synced.row(strava_activities)
    assert (row.type, row.sport_type) == ("Ride", "GravelRide")


async def test_an_unknown_update_causes_a_fetch_and_changes_nothing(synced):
    await synced.deliver(updated(new_key_of_2027="x", private="maybe"))
    row = await synced.row(strava_activities)
    assert (row.name, row.private, row.sync_status) == ("Morning Ride", False, "pending")
    assert await synced.edits() == []


@pytest.mark.parametrize(("title", "shown"), [("a\x00b", "ab"), ("", ""), ("😀", "😀")])
async def test_any_title_can_be_shown(synced, title, shown):
    await synced.deliver(retitled(title))
    assert (await synced.row(strava_activities)).name == shown


async def test_an_update_of_an_unknown_activity_creates_no_row(store):
    await store.deliver(retitled("Before the create"))
    assert await store.rows(strava_activities) == []


@pytest.mark.parametrize("aspect", ["create", "update", "delete"])
async def test_any_event_marks_the_activity_as_pending(synced, clock, aspect):
    clock.advance(seconds=30)
    await synced.deliver(event(aspect_type=aspect))
    row = await synced.row(strava_activities)
    assert (row.sync_status, row.webhook_received_at) == ("pending", clock.now())
    assert row.name == "Morning Ride"  # an event alone destroys nothing


async def test_only_the_activity_of_the_event_becomes_pending(synced):
    await synced.apply(fetched(detail(5)), fetched(detail(6, OTHER)))
    await synced.deliver(event(object_id=5), event(object_id=6, owner_id=OWNER))
    rows = {row.id: row.sync_status for row in await synced.rows(strava_activities)}
    assert rows == {5: "pending", 6: "synced", ACTIVITY: "synced"}


async def test_a_fetch_replaces_the_values_of_the_event(synced):
    await synced.deliver(retitled("Title of the event"))
    await synced.run(Done((fetched(detail(name="Title at Strava")),)))
    row = await synced.row(strava_activities)
    assert (row.name, row.sync_status) == ("Title at Strava", "synced")
