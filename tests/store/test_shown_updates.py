"""An update event changes title, type and privacy at once; then the activity is pending."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from store_makers import ACTIVITY, EVENT_TIME, OTHER, OWNER, detail, event, fetched, retitled, spec, streams

from feedzone.domain.effect import MarkAthlete, NoteFailure, Tombstone
from feedzone.domain.outcome import Discard, Done
from feedzone.domain.quota.windows import DEFAULT_LIMITS
from feedzone.store.quota.breaker import Breaker
from feedzone.store.quota.windows import begin
from feedzone.store.schema.tables import api_budget, strava_activities, strava_athletes
from feedzone.store.shown_updates import ShownUpdatesSchedule


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


@pytest.mark.parametrize("signature", ["absent", "verified"])
async def test_the_feed_carries_the_change_when_a_fetch_confirms_it(synced, signature):
    (receipt,) = await synced.deliver(retitled("Lunch Ride"), signature=signature)
    assert await synced.edits() == []
    cause = f"event:{receipt.event_id}"
    await synced.run(Done((fetched(detail(name="Lunch Ride"), cause),)))
    (change,) = await synced.edits()
    assert (change.field, change.cause) == ("name", cause)
    values = [msgspec.json.decode(value) for value in (change.old_value, change.new_value)]
    assert values == ["Morning Ride", "Lunch Ride"]


async def test_the_feed_never_carries_a_value_that_the_fetch_denies(synced):
    await synced.deliver(retitled("Forged"), updated(private="true", type="Swim"))
    await synced.run(Done((fetched(detail()),)))
    assert await synced.edits() == []
    row = await synced.row(strava_activities)
    assert (row.name, row.private, row.type, row.sport_type) == (
        "Morning Ride",
        False,
        "Ride",
        "GravelRide",
    )
    assert (row.unconfirmed, row.unconfirmed_until) == (None, None)


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


# -- what is shown, and for how long ------------------------------------------------------------------------

FORGED = {"title": "Forged", "type": "Swim", "private": "true"}
TRUE = ("Morning Ride", "Ride", "GravelRide", False, "everyone")


async def seen(store) -> tuple:
    row = await store.row(strava_activities)
    return (row.name, row.type, row.sport_type, row.private, row.visibility)


async def spend(store, window: str = "read_day") -> None:
    full = api_budget.update().where(api_budget.c.window == window).values(used=api_budget.c.quota)
    now = store.clock.now()
    await store.write(lambda c: begin(c, DEFAULT_LIMITS, now))
    await store.write(lambda c: c.execute(full))


async def queue_live_jobs(store, number: int) -> None:
    await store.enqueue(*(spec(activity_id=1000 + each) for each in range(number)))


async def open_breaker(store) -> None:
    await Breaker(store.database, store.clock).fail("503")


async def inactive_application(store) -> None:
    await Breaker(store.database, store.clock).open_inactive("403 Inactive")


@pytest.mark.parametrize(
    "obstacle",
    [
        spend,
        partial(spend, window="overall_15min"),
        partial(queue_live_jobs, number=60),
        open_breaker,
        inactive_application,
    ],
    ids=["day spent", "quarter spent", "long queue", "Strava fails", "switched off"],
)
async def test_an_unproven_title_that_no_call_can_confirm_soon_is_not_shown(synced, obstacle):
    await obstacle(synced)
    await synced.deliver(updated(title="Forged", type="Swim"))
    assert await seen(synced) == TRUE
    await synced.deliver(updated(1, title="Signed"), signature="verified")
    assert (await seen(synced))[0] == "Signed"


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope", "leaving"])
async def test_nothing_unproven_is_shown_of_an_athlete_who_cannot_be_asked(synced, status):
    await synced.write(lambda c: c.execute(strava_athletes.update().values(status=status)))
    await synced.deliver(updated(**FORGED))
    assert await seen(synced) == TRUE


async def test_an_unproven_title_is_taken_back_after_ten_minutes_without_a_fetch(synced, clock):
    schedule = ShownUpdatesSchedule(synced.database, clock)
    await synced.deliver(updated(title="Forged", type="Swim"))
    assert (await seen(synced))[:3] == ("Forged", "Swim", "Swim")
    clock.advance(minutes=10, seconds=-1)
    assert await schedule.run() == 0
    clock.advance(seconds=1)
    assert await schedule.run() == 1
    assert await seen(synced) == TRUE
    assert await synced.edits() == []
    assert await schedule.run() == 0


async def test_hiding_is_believed_for_a_day_even_when_the_quota_is_spent(synced, clock):
    """To hide too much for some hours is better than to show it."""
    schedule = ShownUpdatesSchedule(synced.database, clock)
    await spend(synced)
    await synced.deliver(updated(**FORGED))
    hidden = ("Morning Ride", "Ride", "GravelRide", True, "only_me")
    assert await seen(synced) == hidden
    clock.advance(hours=24, seconds=-1)
    await schedule.run()
    assert await seen(synced) == hidden
    clock.advance(seconds=1)
    await schedule.run()
    assert await seen(synced) == TRUE


async def test_each_field_has_its_own_time(synced, clock):
    await synced.deliver(updated(**FORGED))
    clock.advance(minutes=11)
    await ShownUpdatesSchedule(synced.database, clock).run()
    assert await seen(synced) == ("Morning Ride", "Ride", "GravelRide", True, "only_me")


async def test_a_signed_value_stays_until_a_fetch(synced, clock):
    await synced.deliver(updated(**FORGED), signature="verified")
    clock.advance(days=300)
    await ShownUpdatesSchedule(synced.database, clock).run()
    assert await seen(synced) == ("Forged", "Swim", "Swim", True, "only_me")


async def test_repeated_forgeries_never_become_the_value_that_comes_back(synced, clock):
    for number in range(3):
        await synced.deliver(updated(number, title=f"Forged {number}"))
    clock.advance(minutes=11)
    await ShownUpdatesSchedule(synced.database, clock).run()
    assert await seen(synced) == TRUE


async def test_a_dead_letter_takes_the_unproven_values_back(synced):
    await synced.deliver(updated(**FORGED))
    await synced.run(Discard("500", (NoteFailure(ACTIVITY, OWNER, "500", final=True),)))
    assert await seen(synced) == TRUE


async def test_a_failed_attempt_takes_nothing_back(synced):
    await synced.deliver(updated(**FORGED))
    await synced.apply(NoteFailure(ACTIVITY, OWNER, "500"))
    assert (await seen(synced))[0] == "Forged"


@pytest.mark.parametrize("status", ["needs_reauth", "needs_scope"])
async def test_losing_access_takes_the_unproven_values_back(synced, clock, status):
    await synced.apply(fetched(detail(5, OTHER)), fetched(detail(6)))
    await synced.deliver(
        updated(**FORGED), event(object_id=5, owner_id=OTHER, aspect_type="update", updates=FORGED)
    )
    await synced.deliver(event(object_id=6, aspect_type="update", updates=FORGED), signature="verified")
    await synced.apply(MarkAthlete(OWNER, status, "x"))
    assert await ShownUpdatesSchedule(synced.database, clock).run() == 1
    rows = {row.id: row.name for row in await synced.rows(strava_activities)}
    assert rows == {ACTIVITY: "Morning Ride", 5: "Forged", 6: "Forged"}


async def test_losing_access_leaves_the_signed_value_beside_an_unsigned_one(synced, clock):
    await synced.deliver(updated(title="Signed"), signature="verified")
    await synced.deliver(updated(1, private="true"))
    await synced.apply(MarkAthlete(OWNER, "needs_reauth", "x"))
    await ShownUpdatesSchedule(synced.database, clock).run()
    assert await seen(synced) == ("Signed", *TRUE[1:])


async def test_a_deleted_activity_keeps_no_earlier_title(synced):
    await synced.deliver(updated(**FORGED))
    await synced.apply(Tombstone(ACTIVITY, OWNER, "event:x"))
    row = await synced.row(strava_activities)
    assert (row.name, row.unconfirmed, row.unconfirmed_until) == (None, None, None)


async def test_a_time_in_the_future_outranks_no_true_event(synced, clock):
    """It counts as the time of receipt."""
    now = int(clock.now().timestamp())
    await synced.deliver(event(aspect_type="update", event_time=2**40, updates={"title": "Forged"}))
    assert (await synced.row(strava_activities)).last_event_time == now
    clock.advance(seconds=1)
    await synced.deliver(event(aspect_type="update", event_time=now + 1, updates={"title": "True"}))
    assert (await seen(synced))[0] == "True"
