"""Events that repeat, pile up, get lost or are wrong: their cost in calls, and the resulting rows."""

from __future__ import annotations

import asyncio
import random

import pytest
from engine import DETAIL, LIST, make_engine

from feedzone.app import working
from feedzone.domain.reconciliation import reconciliation_job
from feedzone.store.jobs import lifecycle
from feedzone.store.schema.tables import activity_changes, jobs, strava_activities, webhook_events


@pytest.fixture
async def engine(sqlite_database, clock, tmp_path):
    made, (athlete, _) = make_engine(sqlite_database, clock, tmp_path, athletes=2)
    await made.connect(athlete)
    await made.work()
    made.athlete = athlete
    return made


async def row_of(engine, activity: int):
    (row,) = await engine.rows(strava_activities, id=activity)
    return row


async def truth(engine) -> dict[int, str]:
    return {entry["id"]: entry["name"] for entry in engine.world.truth(engine.athlete)}


async def live_names(engine) -> dict[int, str]:
    rows = await engine.rows(strava_activities)
    return {row.id: row.name for row in rows if row.sync_status != "deleted"}


async def test_events_are_answered_while_strava_does_not_respond(engine):
    """A delivery makes no call itself, and the worker's calls delay no delivery."""
    hanging = asyncio.Event()

    async def hang(request, timeout):
        await hanging.wait()
        raise AssertionError("nobody waits so long")

    engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    engine.app.transport.send = hang
    await engine.app.worker.producer.run_once()
    for _ in range(200):
        engine.world.record(engine.athlete, minutes=10, manual=True)
    async with asyncio.timeout(20):
        await engine.deliver_announced()
    assert len(engine.app.worker.producer.running) == 1
    assert len(await engine.rows(webhook_events)) == 201
    await engine.app.worker.producer.drain(0)


async def test_three_copies_of_an_event_are_one_row_and_one_fetch(engine):
    """Also when each copy arrives after the job of the previous one is done."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    copy = engine.announced[0]
    before = len(engine.calls)
    for _ in range(3):
        assert await engine.deliver(copy) == [200]
        await engine.advance_and_work(seconds=62)
    assert len(await engine.rows(webhook_events)) == 1
    assert engine.requests(before) == {DETAIL: 1}
    assert (await row_of(engine, spec.id)).sync_status == "synced"


async def test_one_reconciliation_makes_up_for_lost_events(engine):
    """Every tenth event is dropped for good."""
    world, dice = engine.world, random.Random(3)
    specs = [world.record(engine.athlete, minutes=10, manual=True) for _ in range(30)]
    for spec in dice.sample(specs, 20):
        world.rename(spec.id, f"Renamed {spec.id}")
    for spec in dice.sample(specs, 8):
        world.delete(spec.id)
    count = len(engine.announced)
    engine.announced[:] = [event for event in engine.announced if dice.random() > 0.1]
    assert len(engine.announced) < count
    await engine.deliver_announced()
    await engine.work()
    engine.clock.advance(minutes=1)
    await engine.reconcile(engine.athlete)
    await engine.advance_and_work(minutes=3)
    assert await live_names(engine) == await truth(engine)


async def test_an_activity_deleted_before_its_first_fetch_costs_no_call(engine):
    """Its create and its delete arrive in one batch."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    engine.world.delete(spec.id)
    before = len(engine.calls)
    await engine.deliver_announced()
    await engine.work()
    assert engine.requests(before) == {}
    assert (await row_of(engine, spec.id)).sync_status == "deleted"
    assert {event.status for event in await engine.rows(webhook_events)} == {"completed"}
    assert await engine.rows(jobs) == []


async def test_deletes_of_unknown_activities_cost_no_call(engine):
    deletes = [
        {
            "object_type": "activity",
            "object_id": 9_000_000_000 + number,
            "aspect_type": "delete",
            "owner_id": engine.athlete,
            "subscription_id": 120_475,
            "event_time": 1_790_000_000,
            "updates": {},
        }
        for number in range(40)
    ]
    before = len(engine.calls)
    assert await engine.deliver(*deletes) == [200] * 40
    await engine.work()
    assert engine.requests(before) == {}
    assert await live_names(engine) == {}
    assert await engine.rows(jobs) == []


async def test_five_updates_within_ten_seconds_are_applied_at_once_and_fetched_once(engine):
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    await engine.advance_and_work(days=2)
    before = len(engine.calls)
    for number in range(5):
        engine.world.rename(spec.id, f"Title {number}")
        await engine.deliver_announced()
        assert (await row_of(engine, spec.id)).name == f"Title {number}"
        await engine.work()
        engine.clock.advance(seconds=2)
    for _ in range(10):
        await engine.advance_and_work(seconds=2)
    assert engine.requests(before)[DETAIL] == 1
    row = await row_of(engine, spec.id)
    assert (row.name, row.sync_status) == ("Title 4", "synced")


async def test_endless_updates_do_not_prevent_a_fetch(engine):
    """An update every three seconds delays the fetch by at most half a minute."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    before = len(engine.calls)
    for number in range(12):
        engine.world.rename(spec.id, f"Title {number}")
        await engine.deliver_announced()
        await engine.advance_and_work(seconds=3)
    assert engine.requests(before)[DETAIL] >= 1


async def test_an_update_storm_costs_two_fetches_and_the_first_comes_within_five_seconds(engine):
    """Also for an activity that was uploaded just before."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    await engine.advance_and_work(seconds=3)
    before, fetched = len(engine.calls), []
    for number in range(20):
        event = update_of(engine, spec.id, at=number, visibility="everyone")
        assert await engine.deliver(event) == [200]
        await engine.advance_and_work(seconds=1)
        fetched.append(engine.requests(before).get(DETAIL, 0))
    assert fetched[4] == 1
    await engine.advance_and_work(seconds=5)
    assert engine.requests(before)[DETAIL] == 2


def update_of(engine, activity_id: int, *, at: int, **updates: str) -> dict:
    return {
        "object_type": "activity",
        "object_id": activity_id,
        "aspect_type": "update",
        "owner_id": engine.athlete,
        "subscription_id": 120_475,
        "event_time": int(engine.clock.now().timestamp()) + at,
        "updates": updates,
    }


async def test_a_delete_does_not_wait_for_the_debounce_of_updates(engine):
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    engine.world.rename(spec.id, "Not for long")
    engine.world.delete(spec.id)
    await engine.deliver_announced()
    before = len(engine.calls)
    await engine.work()
    assert engine.requests(before) == {DETAIL: 1}
    await engine.advance_and_work(minutes=3)
    assert (await row_of(engine, spec.id)).sync_status == "deleted"


async def test_fifty_new_activities_cost_one_list_and_the_details_of_selected_sports(engine):
    """All rows exist after one call; no detail of an unselected sport is fetched."""
    await engine.app.athletes.keep_sports(engine.athlete, ["Ride"])
    before = len(engine.calls)
    sports = ["Ride", "Run", "Walk", "Run", "Swim"] * 10
    made = [
        engine.world.record(engine.athlete, sport, minutes=5 + n, manual=True)
        for n, sport in enumerate(sports)
    ]
    await engine.deliver_announced()
    await engine.work()
    assert engine.requests(before) == {LIST: 1, DETAIL: 10}
    rows = {row.id: row for row in await engine.rows(strava_activities)}
    assert {rows[spec.id].sync_status for spec in made} == {"synced"}
    assert {rows[spec.id].detail is not None for spec in made if spec.sport_type == "Ride"} == {True}
    assert {rows[spec.id].detail is None for spec in made if spec.sport_type != "Ride"} == {True}
    assert {row.status for row in await engine.rows(webhook_events)} == {"completed"}


async def test_fifty_new_activities_appear_after_the_first_call_and_none_is_fetched_twice(engine):
    before = len(engine.calls)
    for n in range(50):
        engine.world.record(engine.athlete, minutes=5 + n, manual=True)
    await engine.deliver_announced()
    await engine.work()
    assert engine.requests(before) == {LIST: 1, DETAIL: 50}


async def test_activities_of_a_sport_selected_later_are_fetched_then(engine):
    await engine.app.athletes.keep_sports(engine.athlete, ["Ride"])
    made = [engine.world.record(engine.athlete, "Run", minutes=5 + n, manual=True) for n in range(8)]
    await engine.deliver_announced()
    await engine.work()
    before = len(engine.calls)
    await engine.app.athletes.keep_sports(engine.athlete, None)
    await engine.work()
    assert engine.requests(before) == {DETAIL: 8}
    assert {(await row_of(engine, spec.id)).detail is None for spec in made} == {False}


async def test_a_single_activity_of_an_unselected_sport_has_its_detail_and_costs_no_streams(engine):
    """The event does not contain the sport, so the filter applies after the fetch."""
    await engine.app.athletes.keep_sports(engine.athlete, ["Ride"])
    before = len(engine.calls)
    spec = engine.world.record(engine.athlete, "Run", minutes=10)
    await engine.deliver_announced()
    await engine.work()
    assert engine.requests(before) == {DETAIL: 1}
    assert (await row_of(engine, spec.id)).sync_status == "synced"


async def test_a_workout_type_edited_without_an_event_is_found_by_a_single_list_call(engine):
    """The quick reconciliation finds it and causes the fetch; a manual one does so at once."""
    spec = engine.world.record(engine.athlete, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    engine.clock.advance(days=2)
    await engine.work()
    engine.world.edit_silently(spec.id, workout_type=3)
    before = len(engine.calls)
    await engine.database.write(lambda c: enqueue_quick_look(c, engine))
    await engine.work()
    assert engine.requests(before) == {LIST: 1, DETAIL: 1}
    assert (await row_of(engine, spec.id)).workout_type == 3
    engine.world.edit_silently(spec.id, description="By hand")
    await engine.app.athletes.refresh_activity(spec.id)
    await engine.work()
    assert (await row_of(engine, spec.id)).description == "By hand"


def enqueue_quick_look(connection, engine) -> None:
    now = engine.clock.now()
    lifecycle.enqueue(connection, [reconciliation_job(engine.athlete, 30, full=False)], now)


async def test_a_delete_without_an_event_costs_two_more_calls(engine):
    specs = [engine.world.record(engine.athlete, minutes=10, manual=True) for _ in range(25)]
    await engine.deliver_announced()
    await engine.work()
    engine.clock.advance(days=2)
    await engine.work()
    await engine.advance_and_work(minutes=1)
    unchanged = await engine.reconcile(engine.athlete)
    engine.clock.advance(minutes=1)
    engine.world.delete(specs[4].id)
    assert await engine.reconcile(engine.athlete) - unchanged == {DETAIL: 1}
    assert (await row_of(engine, specs[4].id)).sync_status != "deleted"
    before = len(engine.calls)
    await engine.advance_and_work(minutes=3)
    assert engine.requests(before) == {DETAIL: 1}
    assert (await row_of(engine, specs[4].id)).sync_status == "deleted"


async def test_an_activity_hidden_and_shown_again_returns_and_its_history_shows_both(engine):
    """Without activity:read_all, hiding arrives as a delete and showing again as a create."""
    world = engine.world
    other = next(entry for entry in world.athletes if entry != engine.athlete)
    await engine.connect(other, ("read", "activity:read"))
    await engine.work()  # so that its list shows no activity before the event does
    spec = world.record(other, minutes=10, manual=True)
    await engine.deliver_announced()
    await engine.work()
    world.hide(spec.id)
    assert engine.announced[-1].aspect_type == "delete"
    await engine.deliver_announced()
    await engine.work()
    await engine.advance_and_work(minutes=3)
    assert (await row_of(engine, spec.id)).sync_status == "deleted"
    engine.clock.advance(minutes=5)
    world.unhide(spec.id)
    await engine.deliver_announced()
    await engine.work()
    row = await row_of(engine, spec.id)
    assert (row.sync_status, row.deleted_at, row.name) == ("synced", None, spec.name)
    trail = await engine.rows(activity_changes, activity_id=spec.id, field="sync_status")
    assert [(entry.old_value, entry.new_value) for entry in sorted(trail, key=lambda entry: entry.id)] == [
        ("null", '"synced"'),
        ('"pending"', '"deleted"'),  # the event made it pending
        ('"deleted"', '"synced"'),
    ]


async def test_an_event_of_an_unknown_owner_is_answered_200_and_listed_and_costs_nothing(engine):
    stranger = {
        "object_type": "activity",
        "object_id": 5,
        "aspect_type": "create",
        "owner_id": 77,
        "subscription_id": 120_475,
        "event_time": 1_790_000_000,
        "updates": {},
    }
    before = len(engine.calls)
    assert await engine.deliver(stranger, stranger | {"object_id": 6}) == [200, 200]
    await engine.work()
    assert engine.requests(before) == {}
    assert await engine.rows(jobs) == []
    (unknown,) = (await engine.app.queries.status.get()).unknown_owners
    assert (unknown.owner_id, unknown.events) == (77, 2)


async def test_a_restart_keeps_the_subscription(engine):
    """After each start Strava has the same subscription, and no other one is touched."""
    engine.world.subscribe(engine.app.settings.callback_url)
    subscription = engine.world.subscription
    for _ in range(2):
        engine.app = engine.process()
        assert (await engine.app.subscription.ensure())[1] is False
        async with working(engine.app):
            pass
    assert engine.world.subscription is subscription
    calls = [(call.method, call.path) for call in engine.calls if "push" in call.path]
    assert set(calls) == {("GET", "/push_subscriptions")}
